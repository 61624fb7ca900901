package station

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDraw(t *testing.T) {
	dir := t.TempDir()
	c := Chart{Title: "Rain", YLabel: "mm", Categories: []string{"Jan", "Feb"}, Series: []Series{{"Seattle", []float64{1, 2}}, {"New York", []float64{3, 4}}}}
	if err := c.draw(dir); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "chart.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"<svg", "Rain", "Jan", "Seattle", "New York"} {
		if !bytes.Contains(svg, []byte(text)) {
			t.Errorf("the SVG has no %q", text)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "chart.png"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds().Dx() < 700 || img.Bounds().Dy() < 400 {
		t.Errorf("the PNG is %v", img.Bounds())
	}
}

func TestDrawSaysWhatIsWrong(t *testing.T) {
	for want, c := range map[string]Chart{
		"a chart has categories":                       {Title: "empty"},
		`the series "a" has 1 values for 2 categories`: {Categories: []string{"x", "y"}, Series: []Series{{"a", []float64{1}}}},
	} {
		if err := c.draw(t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
