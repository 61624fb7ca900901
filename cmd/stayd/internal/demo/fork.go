package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/examples"
	"github.com/stayd/stayd/internal/client"
)

// ForkScript is the model of the second part where there is no real one.
const ForkScript = "script/fork"

const (
	forkTask   = "Sum up the precipitation of /workspace/weather.csv by city and month with Python, keep the sums in /workspace/months.json and the drawing code in /workspace/chart.py, and draw the months of Seattle to /workspace/artifacts."
	otherTask  = "Draw New York instead."
	agentSays  = `You analyse data with Python (run_code). Keep what you work out in files of the workspace, and take every number from an output.`
	forkSecond = "\nThe same session, forked in the middle: its files and its conversation as they were then, nothing copied.\n"
)

// fork shows a session that is forked half-way, with an environment in which
// Python runs. It reports false where this machine has none.
func (d *Demo) fork(ctx context.Context) (bool, error) {
	model := d.cfg.Model
	if model == Script {
		model = ForkScript
	}
	data, err := examples.FS.ReadFile("data/weather.csv")
	if err != nil {
		return false, err
	}
	first, err := d.client.SDK.Beta.Agents.Sessions.New(ctx, openai.BetaAgentSessionNewParams{
		Environment: openai.EnvironmentParamUnion{OfParamOpenAIHosted: &openai.EnvironmentParamOpenAIHosted{
			Files: []openai.HostedEnvironmentFileParamUnion{inline("/workspace/weather.csv", data)},
		}},
		Input: openai.BetaAgentSessionNewParamsInputUnion{OfString: openai.String(forkTask)},
	}, option.WithJSONSet("agent", map[string]any{"model": model, "instructions": agentSays}))
	if err != nil {
		return false, fmt.Errorf("create the session: %w", err)
	}
	var env struct {
		Environment struct {
			Sandbox string `json:"sandbox"`
		} `json:"environment"`
	}
	if err := json.Unmarshal([]byte(first.RawJSON()), &env); err != nil {
		return false, fmt.Errorf("read the session: %w", err)
	}
	if env.Environment.Sandbox == "js" {
		return false, nil
	}
	d.say("\nsandbox: %s, session: %s", env.Environment.Sandbox, first.ID)
	d.printer.Line(show.Bold, "\n> %s\n", forkTask)
	middle, err := d.play(ctx, first.ID)
	if err != nil {
		return false, err
	}
	if middle == "" {
		return false, errors.New("the agent ran no code, so there is no middle to fork at")
	}
	second, err := d.forkAt(ctx, first.ID, middle)
	if err != nil {
		return false, err
	}
	d.printer.Line(show.Good, forkSecond)
	d.printer.Line(show.Bold, "> %s\n", otherTask)
	if _, err := d.play(ctx, second); err != nil {
		return false, err
	}
	return true, d.compare(ctx, first.ID, second)
}

// play shows a session until its turn has ended, and returns the item of the
// call after which there was something worth keeping: the second to last.
func (d *Demo) play(ctx context.Context, session string) (middle string, err error) {
	events, err := d.client.Follow(ctx, session, client.FromStart)
	if err != nil {
		return "", fmt.Errorf("follow the session: %w", err)
	}
	defer events.Close() //nolint:errcheck // the turn is over
	var calls []string
	skip := true
	for events.Next() {
		e, err := show.Parse(events.Raw())
		if err != nil {
			return "", err
		}
		// What a fork was given as its past was shown before.
		skip = skip && d.past(session, &e)
		if !skip {
			d.printer.Event(&e)
		}
		if e.Type == "agent.session.turn.item.done" && (e.Item.Type == "command_execution" || e.Item.Type == "mcp_call") {
			calls = append(calls, e.Item.ID)
		}
		if skip {
			continue
		}
		switch e.Type {
		case "agent.session.turn.completed":
			if len(calls) < 2 {
				return "", nil
			}
			return calls[len(calls)-2], nil
		case "agent.session.turn.failed", "agent.session.turn.cancelled":
			return "", fmt.Errorf("the turn of session %s did not complete", session)
		}
	}
	return "", errors.Join(events.Err(), fmt.Errorf("the stream of session %s broke off", session))
}

// past reports whether the event is of the time before the fork.
func (d *Demo) past(session string, e *show.Event) bool {
	return d.forked[session] != "" && (e.Type != "agent.session.turn.created" || e.Turn.ID != d.forked[session])
}

// forkAt forks the session after an item and gives the fork its task.
func (d *Demo) forkAt(ctx context.Context, session, item string) (string, error) {
	made, err := d.client.Fork(ctx, session, client.Fork{Item: item, Cancel: true, Input: otherTask})
	if err != nil {
		return "", fmt.Errorf("fork the session: %w", err)
	}
	var turns struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := d.client.Do(ctx, http.MethodGet, client.SessionPath(made.ID, "/turns?limit=1"), nil, &turns); err != nil || len(turns.Data) == 0 {
		return "", errors.Join(err, errors.New("the fork has no turn"))
	}
	d.forked[made.ID] = turns.Data[0].ID
	return made.ID, nil
}

// compare shows in what the two sessions differ.
func (d *Demo) compare(ctx context.Context, a, b string) error {
	diff, err := d.client.Diff(ctx, a, b)
	if err != nil {
		return fmt.Errorf("compare the sessions: %w", err)
	}
	if diff.Common == nil {
		return fmt.Errorf("sessions %s and %s have no past in common", a, b)
	}
	d.printer.Line(show.Good, "✓ both went on from record %d, and differ in:", diff.Common.Record)
	for _, f := range diff.Files {
		d.printer.Line(show.Good, "    %-8s %s", f.Kind, f.Path)
	}
	d.say("\nSee it all: stayd sessions diff %s %s --data %s", a, b, filepath.Join(d.cfg.Dir, "data"))
	return nil
}

// forkWait bounds the second part.
const forkWait = 5 * time.Minute
