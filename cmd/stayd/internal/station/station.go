// Package station is the MCP server of the demonstration: tools of the three
// sorts that matter after a crash. Everything that reaches it is written down in a
// ledger, so that one can see afterwards what happened in the outside world, and
// how often. It knows nothing of the runtime that calls it.
package station

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Config says where the server works.
type Config struct {
	Dir string // of the ledger, the chart and the report
	// Hold is how long the first rendering of a chart takes at most, so that there
	// is something to interrupt.
	Hold time.Duration
}

// ReleaseFile is the name of the file in Config.Dir that, once it is there, has no
// rendering held any more.
const ReleaseFile = ".release"

// LedgerFile is the name of the ledger in Config.Dir.
const LedgerFile = "ledger.jsonl"

// Entry is a line of the ledger.
type Entry struct {
	Time     time.Time `json:"time"`
	PID      int       `json:"pid"` // of the MCP server
	Tool     string    `json:"tool"`
	EffectID string    `json:"effect_id"`
	Did      string    `json:"did"`
}

// What entries say was done.
const (
	Called = "called"         // the call arrived
	Drawn  = "drew the chart" // and the chart was drawn
	Known  = "had it already" // a call with the same effect id had been answered
	Posted = "published"      // the report was published
	Found  = "looked it up"   // a station was looked up
)

// metaEffectID is the key of a call's _meta under which the runtime hands over
// the effect id.
const metaEffectID = "stayd/effect_id"

type station struct{ cfg Config }

// Serve speaks MCP over standard input and output until the input ends.
func Serve(ctx context.Context, cfg Config, version string) error {
	if err := os.MkdirAll(filepath.Join(cfg.Dir, ".answers"), 0o700); err != nil {
		return fmt.Errorf("make the folder of the demonstration: %w", err)
	}
	s := &station{cfg: cfg}
	srv := mcp.NewServer(&mcp.Implementation{Name: "stayd-demo", Version: version}, nil)
	mcp.AddTool(srv, &mcp.Tool{
		Name: "lookup_station", Description: "Say where a city is whose weather was observed.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
	}, s.lookUp)
	mcp.AddTool(srv, &mcp.Tool{
		Name: "render_chart", Description: "Draw a bar chart as SVG and PNG. A second call with the same effect id draws nothing again.",
		Annotations: &mcp.ToolAnnotations{IdempotentHint: true},
	}, s.render)
	mcp.AddTool(srv, &mcp.Tool{
		Name: "publish_report", Description: "Publish a report in Markdown. Every call publishes it again.",
	}, s.publish)
	err := srv.Run(ctx, &mcp.StdioTransport{})
	if errors.Is(err, mcp.ErrConnectionClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// places are the cities that the data has. It does not say which of a city's
// stations observed them.
var places = map[string]map[string]any{
	"seattle":  {"city": "Seattle", "state": "Washington", "latitude": 47.61, "longitude": -122.33},
	"new york": {"city": "New York", "state": "New York", "latitude": 40.71, "longitude": -74.01},
}

type lookUpArgs struct {
	City string `json:"city" jsonschema:"Seattle or New York"`
}

func (s *station) lookUp(_ context.Context, req *mcp.CallToolRequest, in lookUpArgs) (*mcp.CallToolResult, any, error) {
	if err := s.note(req, Found); err != nil {
		return nil, nil, err
	}
	p, ok := places[strings.ToLower(in.City)]
	if !ok {
		return nil, nil, fmt.Errorf("there is no station for %q, only for Seattle and New York", in.City)
	}
	return answer(p)
}

func (s *station) render(ctx context.Context, req *mcp.CallToolRequest, in Chart) (*mcp.CallToolResult, any, error) {
	before, err := s.calls("render_chart")
	if err != nil {
		return nil, nil, err
	}
	if err := s.note(req, Called); err != nil {
		return nil, nil, err
	}
	saved := filepath.Join(s.cfg.Dir, ".answers", filepath.Base(effectID(req))+".json")
	b, err := os.ReadFile(saved)
	if err == nil {
		return text(string(b)), nil, s.note(req, Known)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	_, err = os.Stat(filepath.Join(s.cfg.Dir, ReleaseFile))
	if before == 0 && errors.Is(err, fs.ErrNotExist) {
		select {
		case <-time.After(s.cfg.Hold):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	if err := in.draw(s.cfg.Dir); err != nil {
		return nil, nil, err
	}
	out, err := json.Marshal(map[string]string{"svg": "chart.svg", "png": "chart.png"})
	if err != nil {
		return nil, nil, err
	}
	if err := write(saved, out); err != nil {
		return nil, nil, err
	}
	return text(string(out)), nil, s.note(req, Drawn)
}

type publishArgs struct {
	Headline string `json:"headline"`
	Markdown string `json:"markdown" jsonschema:"the report; it may show chart.svg"`
}

// ReportFile is the name of the published report in Config.Dir.
const ReportFile = "report.md"

func (s *station) publish(_ context.Context, req *mcp.CallToolRequest, in publishArgs) (*mcp.CallToolResult, any, error) {
	if err := write(filepath.Join(s.cfg.Dir, ReportFile), []byte(in.Markdown)); err != nil {
		return nil, nil, err
	}
	if err := s.note(req, Posted); err != nil {
		return nil, nil, err
	}
	return answer(map[string]any{"headline": in.Headline, "file": ReportFile, "bytes": len(in.Markdown)})
}

func effectID(req *mcp.CallToolRequest) string {
	id, ok := req.Params.Meta[metaEffectID].(string)
	if !ok {
		return "none"
	}
	return id
}

// note writes a line into the ledger.
func (s *station) note(req *mcp.CallToolRequest, did string) error {
	line, err := json.Marshal(Entry{Time: time.Now().UTC(), PID: os.Getpid(), Tool: req.Params.Name, EffectID: effectID(req), Did: did})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.cfg.Dir, LedgerFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// calls counts the calls of a tool that arrived.
func (s *station) calls(tool string) (int, error) {
	entries, err := Ledger(s.cfg.Dir)
	n := 0
	for _, e := range entries {
		if e.Tool == tool && e.Did == Called {
			n++
		}
	}
	return n, err
}

// Ledger reads the ledger in the folder; none is an empty one.
func Ledger(dir string) ([]Entry, error) {
	b, err := os.ReadFile(filepath.Join(dir, LedgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Entry
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("the ledger: %w", err)
		}
		out = append(out, e)
	}
	return out, nil
}

func answer(v any) (*mcp.CallToolResult, any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, nil, err
	}
	return text(string(b)), nil, nil
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

// write puts a file in place all at once.
func write(name string, b []byte) error {
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
