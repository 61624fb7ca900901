package station

import (
	"bytes"
	"fmt"
	"image/color"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Chart is a grouped bar chart.
type Chart struct {
	Title      string   `json:"title"`
	YLabel     string   `json:"y_label,omitempty"`
	Categories []string `json:"categories" jsonschema:"the names below the groups of bars"`
	Series     []Series `json:"series" jsonschema:"one to four"`
}

// Series is the bars of one colour.
type Series struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values" jsonschema:"one for each category"`
}

// colours can be told apart by those who do not see red and green apart, too.
var colours = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff}, color.RGBA{0xcc, 0x79, 0xa7, 0xff},
}

const (
	chartWidth, chartHeight = 8 * vg.Inch, 4.5 * vg.Inch
	groupWidth              = vg.Length(30)
)

// draw writes chart.svg and chart.png.
func (c *Chart) draw(dir string) error {
	if len(c.Categories) == 0 || len(c.Series) == 0 || len(c.Series) > len(colours) {
		return fmt.Errorf("a chart has categories and one to %d series", len(colours))
	}
	p := c.frame()
	width := groupWidth / vg.Length(len(c.Series))
	for i, s := range c.Series {
		if len(s.Values) != len(c.Categories) {
			return fmt.Errorf("the series %q has %d values for %d categories", s.Name, len(s.Values), len(c.Categories))
		}
		bars, err := plotter.NewBarChart(plotter.Values(s.Values), width)
		if err != nil {
			return fmt.Errorf("the series %q: %w", s.Name, err)
		}
		bars.Color, bars.LineStyle.Width = colours[i], 0
		bars.Offset = width*vg.Length(i) - (groupWidth-width)/2
		p.Add(bars)
		p.Legend.Add(s.Name, bars)
	}
	p.NominalX(c.Categories...)
	// Room for the legend above the bars, and beside the last of them.
	p.Y.Min, p.Y.Max = 0, p.Y.Max*1.15
	p.X.Min, p.X.Max = -0.6, float64(len(c.Categories))-0.4
	for _, format := range []string{"svg", "png"} {
		w, err := p.WriterTo(chartWidth, chartHeight, format)
		if err != nil {
			return fmt.Errorf("draw the chart: %w", err)
		}
		var b bytes.Buffer
		if _, err := w.WriteTo(&b); err != nil {
			return fmt.Errorf("draw the chart: %w", err)
		}
		if err := write(filepath.Join(dir, "chart."+format), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// frame is the chart without its bars.
func (c *Chart) frame() *plot.Plot {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text = c.Title, c.YLabel
	p.Title.Padding = vg.Points(10)
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	p.Legend.Top, p.Legend.XOffs, p.Legend.Padding = true, -vg.Points(8), vg.Points(3)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	p.Add(grid)
	return p
}
