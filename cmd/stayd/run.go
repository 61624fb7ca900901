package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stayd/stayd/cmd/stayd/internal/agentfile"
	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

// output is where and how a command shows what happens.
type output struct {
	out      io.Writer
	width    int
	json     bool
	progress *progress
	person   *person
}

func newOutput(cmd *cobra.Command, asJSON bool) output {
	o := output{out: cmd.OutOrStdout(), width: 100, json: asJSON, progress: newProgress(os.Stderr)}
	if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		o.width = w - 20
	}
	if !asJSON {
		o.person = personAt(os.Stdin, os.Stderr)
	}
	return o
}

// who are the flags that say which agent a session runs.
type who struct {
	file, model, env, session, actor string

	vaults []string
}

func (w *who) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&w.file, "agent", "", "YAML file of the agent; see examples/agents")
	fs.StringVar(&w.model, "model", "", "model, as provider/name; default: the agent's, else the first that is ready")
	fs.StringVar(&w.env, "env", "", "sandbox for commands and code: none, js, bubblewrap or gvisor; default: the agent's, else the safest that works here")
	fs.StringVar(&w.session, "session", "", "go on with this session")
	fs.StringVar(&w.actor, "actor", "", "who talks with the agent, for its memory and for credentials of theirs; default: the user of this machine, where the agent remembers, and in a session whom it is with")
	fs.StringSliceVar(&w.vaults, "vault", nil, "ids of vaults whose credentials the session may use")
	addRuntimeFlags(cmd)
}

func newRun() *cobra.Command {
	var w who
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "run [task]",
		Short: "Give an agent a task and watch it",
		Long: `Give an agent a task in a new session, or in the one that --session names, and
show what happens. Without a task, a session that has something under way goes on.

Ctrl-C cancels the turn; a second one leaves at once, and the session goes on the
next time that its runtime runs. What needs a person is asked at the terminal.
Where there is none, the command ends with exit code 4 and says how to answer.`,
		Example: `  stayd run "Which files are in your workspace?"
  stayd run --agent examples/agents/analyst.yaml "Which city has the hotter summers?"
  stayd run --session sess_123 "And the colder winters?"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			task := strings.Join(args, " ")
			if task == "" && w.session == "" {
				return usage("there is no task: give it as an argument, as in stayd run \"Say hello\"")
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				return runTask(ctx, rt, &w, task, newOutput(cmd, asJSON))
			})
		},
	}
	w.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events of the session as JSON, one a line")
	return cmd
}

func runTask(ctx context.Context, rt *runtime, w *who, task string, o output) error {
	f, events, err := begin(ctx, rt, w, task, o)
	if err != nil || f == nil {
		return err
	}
	start := f.cursor
	err = f.run(ctx, events)
	if !o.json {
		f.summary(context.WithoutCancel(ctx), start)
	}
	return err
}

// begin makes a session of the task, or adds it to a session.
func begin(ctx context.Context, rt *runtime, w *who, task string, o output) (*follower, *client.Events, error) {
	if w.session == "" {
		id, err := create(ctx, rt, w, task)
		if err != nil {
			return nil, nil, err
		}
		return newFollower(rt, id, client.FromStart, o), nil, nil
	}
	if w.file != "" || w.env != "" || w.model != "" || len(w.vaults) > 0 {
		return nil, nil, usage("--session goes on with the agent of that session; leave out --agent, --model, --env and --vault")
	}
	events, err := rt.Follow(ctx, w.session, "")
	if err != nil {
		return nil, nil, err
	}
	s, err := rt.SDK.Beta.Agents.Sessions.Get(ctx, w.session)
	if err != nil {
		return nil, nil, errors.Join(err, events.Close())
	}
	f := newFollower(rt, w.session, "", o)
	if task != "" {
		return f, events, say(ctx, rt, w.session, w.actor, task)
	}
	if s.Status == openai.AgentSessionStatusIdle {
		fmt.Fprintln(os.Stderr, "the session is idle; give it a task")
		return nil, nil, events.Close()
	}
	var now show.Session
	if err := json.Unmarshal([]byte(s.RawJSON()), &now); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the session: %w", err), events.Close())
	}
	return f, events, f.answer(ctx, now.Actions)
}

// create makes a session with the agent that the flags describe, and returns its
// id. An empty input makes a session that waits for one.
func create(ctx context.Context, rt *runtime, w *who, input string) (string, error) {
	agent := &agentfile.Agent{Environment: agentfile.Environment{Type: "hosted"}}
	if w.file != "" {
		var err error
		if agent, err = agentfile.Read(w.file); err != nil {
			return "", &coded{code: exitUsage, err: err}
		}
	}
	if w.model != "" {
		agent.Model = w.model
	}
	if agent.Model == "" {
		var err error
		if agent.Model, err = defaultModel(ctx, rt); err != nil {
			return "", err
		}
	}
	switch w.env {
	case "":
	case "none":
		agent.Environment = agentfile.Environment{Type: "none"}
	case "js", "bubblewrap", "gvisor":
		agent.Environment.Type, agent.Environment.Sandbox = "hosted", w.env
	default:
		return "", usage("--env %q is none of none, js, bubblewrap, gvisor", w.env)
	}
	body, err := sessionBody(agent, w.with(agent), w.vaults, input)
	if err != nil {
		return "", &coded{code: exitUsage, err: err}
	}
	s, err := rt.SDK.Beta.Agents.Sessions.New(ctx, openai.BetaAgentSessionNewParams{}, option.WithRequestBody("application/json", body))
	if err != nil {
		return "", err
	}
	return s.ID, nil
}

// with is whom the agent talks with; empty is nobody in particular.
func (w *who) with(agent *agentfile.Agent) string {
	if w.actor == "" && agent.Memory != nil {
		if u, err := user.Current(); err == nil {
			return u.Username
		}
	}
	return w.actor
}

// sessionBody is the request for a session with the agent. Its name becomes
// metadata, since the agent of a session has none.
func sessionBody(a *agentfile.Agent, actor string, vaults []string, input string) ([]byte, error) {
	env, err := a.Environment.JSON()
	if err != nil {
		return nil, err
	}
	settings := *a
	settings.Name, settings.Metadata = "", nil
	body := struct {
		Environment json.RawMessage   `json:"environment"`
		Agent       *agentfile.Agent  `json:"agent"`
		Input       string            `json:"input,omitempty"`
		Metadata    map[string]string `json:"metadata,omitempty"`
		Actor       string            `json:"actor,omitempty"`
		Vaults      []string          `json:"vault_ids,omitempty"`
	}{env, &settings, input, a.Metadata, actor, vaults}
	if a.Name != "" {
		body.Metadata = map[string]string{"agent": a.Name}
		for k, v := range a.Metadata {
			body.Metadata[k] = v
		}
	}
	return json.Marshal(body)
}

// summary says what the turn took, and where its log is.
func (f *follower) summary(ctx context.Context, start string) {
	defer f.printer.Line(show.Dim, "session %s · stayd sessions log %s", f.session, f.session)
	switch f.turn.Status {
	case "completed", "failed", "cancelled":
	default:
		return
	}
	u := f.turn.Usage
	line := fmt.Sprintf("%d tokens in, %d out, %.1fs", u.Input, u.Output, time.Since(f.begun).Seconds())
	if nano, err := cost(ctx, f.rt, f.session, start, f.turn.ID); err == nil && nano > 0 {
		line += fmt.Sprintf(", $%.4f", float64(nano)/1e9)
	}
	f.printer.Line(show.Dim, "%s", line)
}
