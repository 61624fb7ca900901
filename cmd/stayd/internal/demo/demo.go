// Package demo shows what Stayd is for: an agent works on real data, its server is
// killed in the middle of a call, and the work goes on to its end with nothing
// done twice. It uses the server as any client does, over HTTP.
package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/cmd/stayd/internal/agentfile"
	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/cmd/stayd/internal/station"
	"github.com/stayd/stayd/examples"
	"github.com/stayd/stayd/internal/client"
)

// Script is the model of the demonstration where there is no real one.
const Script = "script/demo"

// Config is how the demonstration is run.
type Config struct {
	Dir        string // a folder that is the demonstration's own; it is emptied
	Executable string // this binary
	Model      string
	Models     string // file of models; may be empty
	Fast       bool   // without the pauses that let one read along
	Out        io.Writer
	Width      int // of shortened texts
}

// Demo is one run.
type Demo struct {
	cfg     Config
	printer *show.Printer
	server  *process
	client  *client.Client
	session string
	cursor  string
	events  int

	calls  int // that are done
	flying string
	forked map[string]string // by fork, the turn that is its own first
	killed time.Time
	killID int // of the process that was killed
	turn   show.Turn
}

const task = "Is Seattle rainier than New York? Look the two cities up, check that /workspace/weather.csv is complete, " +
	"compare the precipitation of 2012 to 2015 by month and by days with 1 mm or more, draw a chart of the months, and publish a short report."

const instructions = `You analyse data. /workspace/weather.csv has the columns location, date, precipitation (mm), temp_max, temp_min, wind, weather, one row a day and city.
Compute with run_code only, and take every number from its output. Keep intermediate results in files of the workspace.
Draw the chart with weather__render_chart, once. Publish with weather__publish_report, once, as the last step; the report shows chart.svg.`

// Run runs it. The folder keeps what came of it.
func Run(ctx context.Context, cfg Config) error {
	d := &Demo{cfg: cfg, cursor: client.FromStart, forked: map[string]string{}, printer: show.NewPrinter(cfg.Out, cfg.Width, time.Now)}
	if err := d.prepare(); err != nil {
		return err
	}
	err := d.run(ctx)
	if d.server != nil {
		err = errors.Join(err, d.server.stop())
	}
	return err
}

// out is the folder of the agent's results.
func (d *Demo) out() string { return filepath.Join(d.cfg.Dir, "out") }

// marker tells a folder of the demonstration from others.
const marker = ".stayd-demo"

// prepare empties the folder and puts the script there.
func (d *Demo) prepare() error {
	entries, err := os.ReadDir(d.cfg.Dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(d.cfg.Dir, marker)); err != nil {
			return fmt.Errorf("the folder %s is not empty and not the demonstration's: name another with --dir", d.cfg.Dir)
		}
		if err := os.RemoveAll(d.cfg.Dir); err != nil {
			return fmt.Errorf("empty the folder of the demonstration: %w", err)
		}
	}
	for _, dir := range []string{d.out(), filepath.Join(d.cfg.Dir, "scripts")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folder of the demonstration: %w", err)
		}
	}
	for _, name := range []string{"scripts/demo.yaml", "scripts/fork.yaml"} {
		script, err := examples.FS.ReadFile(name)
		if err != nil {
			return err
		}
		if d.cfg.Fast {
			script = pauses.ReplaceAll(script, nil)
		}
		if err := os.WriteFile(filepath.Join(d.cfg.Dir, filepath.FromSlash(name)), script, 0o600); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(d.cfg.Dir, marker), nil, 0o600),
		os.WriteFile(filepath.Join(d.cfg.Dir, ".gitignore"), []byte("*\n"), 0o600), // where it is run in a repository
	)
}

// pauses are the lines of the script that only slow it down.
var pauses = regexp.MustCompile(`(?m)^ +(delay|stream): .*\n`)

func (d *Demo) run(ctx context.Context) error {
	if err := d.open(); err != nil {
		return err
	}
	if d.cfg.Model == Script {
		d.say("scripted model: plays examples/scripts/demo.yaml, no intelligence. A key (OPENAI_API_KEY, ANTHROPIC_API_KEY) or a local Ollama makes it a real one.")
	} else {
		d.say("real model: %s", d.cfg.Model)
	}
	d.say("server: process %d, %s", d.server.pid(), d.server.url)
	if err := d.create(ctx); err != nil {
		return err
	}
	d.say("session: %s", d.session)
	d.printer.Line(show.Bold, "\n> %s\n", task)
	if err := d.follow(ctx); err != nil {
		return err
	}
	if err := d.conclude(ctx); err != nil {
		return err
	}
	return d.second(ctx)
}

// second is the part with forks.
func (d *Demo) second(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forkWait)
	defer cancel()
	shown, err := d.fork(ctx)
	if err == nil && !shown {
		d.say("\nThe second part forks a session in which Python runs. It needs a sandbox that this machine does not have; see stayd doctor.")
	}
	return err
}

func (d *Demo) say(format string, args ...any) { d.printer.Line(show.Dim, format, args...) }

// open starts the server and connects to it.
func (d *Demo) open() error {
	var err error
	if d.server, err = d.start(); err != nil {
		return err
	}
	d.client, err = client.Dial(d.server.url, "")
	return err
}

// chart is the tool whose first call is held.
const chart = "render_chart"

// hold is how long the first chart takes, unless the server is killed before.
const hold = 30 * time.Second

// create makes the agent and the session with the official SDK.
func (d *Demo) create(ctx context.Context) error {
	agent := agentfile.Agent{
		Name: "weather-analyst", Model: d.cfg.Model, Instructions: instructions,
		Limits: &agentfile.Limits{MaxSteps: 40, MaxSeconds: 900},
		Tools: []agentfile.Tool{{
			Type: "mcp", ServerLabel: "weather", Required: true,
			Transport: &agentfile.Transport{
				Type: "stdio", Command: d.cfg.Executable, Args: []string{"mcp-demo", "--dir", d.out(), "--hold", hold.String()},
			},
		}},
	}
	body, err := json.Marshal(agent)
	if err != nil {
		return err
	}
	made, err := d.client.SDK.Beta.Agents.New(ctx, openai.BetaAgentNewParams{}, option.WithRequestBody("application/json", body))
	if err != nil {
		return fmt.Errorf("create the agent: %w", err)
	}
	data, err := examples.FS.ReadFile("data/weather.csv")
	if err != nil {
		return err
	}
	s, err := d.client.SDK.Beta.Agents.Sessions.New(ctx, openai.BetaAgentSessionNewParams{
		AgentID: openai.String(made.ID),
		Input:   openai.BetaAgentSessionNewParamsInputUnion{OfString: openai.String(task)},
		Environment: openai.EnvironmentParamUnion{OfParamOpenAIHosted: &openai.EnvironmentParamOpenAIHosted{
			Files: []openai.HostedEnvironmentFileParamUnion{inline("/workspace/weather.csv", data)},
		}},
	})
	if err != nil {
		return fmt.Errorf("create the session: %w", err)
	}
	d.session = s.ID
	return nil
}

// follow shows the session until its turn has ended. On the way the server is
// killed once and started again.
func (d *Demo) follow(ctx context.Context) error {
	for d.turn.ID == "" {
		events, err := d.client.Follow(ctx, d.session, d.cursor)
		if err != nil {
			return fmt.Errorf("follow the session: %w", err)
		}
		err = d.watch(ctx, events)
		if err != nil || d.turn.ID != "" {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.killed.IsZero() {
			return errors.New("the stream of the session broke off")
		}
		if d.server.ended {
			if err := d.restart(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Demo) restart() error {
	before := d.events
	start := time.Now()
	if err := d.open(); err != nil {
		return err
	}
	d.printer.Line(show.Good, "▶ started again as process %d after %s; the stream goes on after event %d, at %s\n",
		d.server.pid(), time.Since(start).Round(10*time.Millisecond), before, d.cursor)
	return nil
}

// incoming is an event and the place after it.
type incoming struct {
	show.Event
	cursor string
}

// read hands on the events of the stream until it ends.
func read(ctx context.Context, events *client.Events, to chan<- incoming) error {
	defer close(to)
	for events.Next() {
		e, err := show.Parse(events.Raw())
		if err != nil {
			return err
		}
		select {
		case to <- incoming{e, events.Cursor()}:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// watch shows the events of one stream, which it closes. The moment to kill the
// server comes from them, or from the ledger that the tools write.
func (d *Demo) watch(ctx context.Context, events *client.Events) error {
	ctx, cancel := context.WithCancel(ctx)
	to, failed := make(chan incoming), make(chan error, 1)
	go func() { failed <- read(ctx, events, to) }()
	err := d.show(ctx, to)
	cancel()
	events.Close() //nolint:errcheck,gosec // the turn is over, or the server is gone
	return errors.Join(err, <-failed)
}

func (d *Demo) show(ctx context.Context, from <-chan incoming) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-from:
			if !ok {
				return nil
			}
			d.events++
			d.printer.Event(&e.Event)
			d.cursor = e.cursor
			if d.note(&e.Event) {
				return nil
			}
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		ready, err := d.halfWay()
		if err != nil {
			return err
		}
		if ready {
			return d.strike(ctx)
		}
	}
}

// note keeps what the event says of the turn, and reports whether it has ended.
func (d *Demo) note(e *show.Event) bool {
	call := e.Item.Type == "mcp_call" || e.Item.Type == "command_execution"
	switch e.Type {
	case "agent.session.turn.item.added":
		if call {
			d.flying = e.Item.Name
			if d.flying == "" {
				d.flying = "run_code"
			}
		}
	case "agent.session.turn.item.done":
		if call {
			d.calls++
			d.flying = ""
		}
	case "agent.session.turn.completed", "agent.session.turn.failed", "agent.session.turn.cancelled":
		d.turn = e.Turn
		return true
	}
	return false
}

// halfWay reports whether something is done, something else is under way, and the
// server was not killed yet. The best moment is the chart's, whose call has
// arrived and is not answered.
func (d *Demo) halfWay() (bool, error) {
	if !d.killed.IsZero() || d.calls < 2 || d.flying == "" {
		return false, nil
	}
	if d.cfg.Model != Script && d.flying != chart && d.calls >= 4 {
		return true, nil
	}
	entries, err := station.Ledger(d.out())
	for _, e := range entries {
		if e.Did == station.Called {
			// The stream may be behind the ledger. The script's chart is drawn when the server
			// was killed, so that what it says can be waited for.
			return d.flying == chart || d.cfg.Model != Script, err
		}
	}
	return false, err
}

// strike kills the server.
func (d *Demo) strike(ctx context.Context) error {
	if d.flying == chart {
		d.pause(ctx) // so that one can see that it is under way; any other call may be over by then
	}
	d.killID, d.killed = d.server.pid(), time.Now().UTC()
	if err := d.server.kill(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.out(), station.ReleaseFile), nil, 0o600); err != nil {
		return err
	}
	d.printer.Line(show.Bad, "\n■ kill -9 %d, while %s is under way and %d calls are done", d.killID, d.flying, d.calls)
	d.pause(ctx)
	return nil
}

// pause lets one read along.
func (d *Demo) pause(ctx context.Context) {
	if d.cfg.Fast {
		return
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

// inline is a file that the workspace starts with.
func inline(path string, data []byte) openai.HostedEnvironmentFileParamUnion {
	return openai.HostedEnvironmentFileParamUnion{OfParamInline: &openai.HostedEnvironmentFileParamInline{
		Path: path, Data: base64.StdEncoding.EncodeToString(data),
	}}
}
