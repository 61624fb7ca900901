package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/environment/gvisor"
)

func newDoctor() *cobra.Command {
	var install string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what works on this machine, and what to install",
		Long: `Say what works on this machine, and what to install for the rest: the disk under
the data folder, the store, the sandboxes and the models. Each is tried out, in a
runtime of its own in a temporary folder; the data folder is only written a test
file to. Models are not called.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Getenv)
			if err != nil {
				return err
			}
			if install != "" {
				if err := installSandbox(cmd.Context(), install, cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return doctor(cmd.Context(), cfg, &report{p: show.NewPrinter(cmd.OutOrStdout(), 100, time.Now)})
		},
	}
	cmd.Flags().StringVar(&install, "install", "", "install a sandbox first: gvisor")
	addSettings(cmd.Flags(), runtimeSettings)
	return cmd
}

func installSandbox(ctx context.Context, name string, log io.Writer) error {
	if name != "gvisor" {
		return usage("--install %q: only gvisor can be installed this way; bubblewrap comes with the system: apt-get install bubblewrap", name)
	}
	return gvisor.Install(ctx, log)
}

// report prints findings. Only what Stayd cannot do without makes it fail.
type report struct {
	p      *show.Printer
	failed bool
}

func (r *report) good(what, format string, args ...any) {
	r.line(show.Good, "✓", what, format, args...)
}

func (r *report) note(what, format string, args ...any) {
	r.line(show.Warn, "–", what, format, args...)
}

func (r *report) bad(what, format string, args ...any) {
	r.failed = true
	r.line(show.Bad, "✗", what, format, args...)
}

func (r *report) line(s lipgloss.Style, mark, what, format string, args ...any) {
	r.p.Line(s, "%s %-20s %s", mark, what, fmt.Sprintf(format, args...))
}

func doctor(ctx context.Context, cfg app.Config, r *report) error {
	checkDisk(cfg.Data, r)
	if err := checkRuntime(ctx, cfg, r); err != nil {
		r.bad("runtime", "%s", client.Message(err))
	}
	switch url, err := serverOn(ctx, cfg.Data); {
	case err != nil:
		r.bad("server", "%v", err)
	case url != "":
		r.good("server", "runs on %s at %s", cfg.Data, url)
	default:
		r.note("server", "none runs on the folder %s; commands open the runtime in their own process", cfg.Data)
	}
	if r.failed {
		return &quiet{errors.New("something that Stayd needs does not work")}
	}
	return nil
}

const (
	syncRounds = 40
	slowSync   = 10 * time.Millisecond
)

// checkDisk measures how long the disk takes to make a page durable, which is
// what every step of a session waits for.
func checkDisk(dir string, r *report) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.bad("disk", "the data folder cannot be made: %v; name another with --data", err)
		return
	}
	took, err := measureSync(filepath.Join(dir, ".doctor"))
	switch {
	case err != nil:
		r.bad("disk", "the data folder cannot be written to: %v", err)
	case took > slowSync:
		r.note("disk", "fsync takes %s (median of %d), which every step waits for; a faster disk makes sessions faster", took.Round(10*time.Microsecond), syncRounds)
	default:
		r.good("disk", "fsync takes %s (median of %d)", took.Round(10*time.Microsecond), syncRounds)
	}
}

func measureSync(name string) (time.Duration, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer os.Remove(name) //nolint:errcheck // a test file
	defer f.Close()       //nolint:errcheck // a test file
	page := make([]byte, 4096)
	var took []time.Duration
	for range syncRounds {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// The scripts that the sandboxes are tried out with.
const (
	tryJS      = `steps: [{when: {count: 0}, reply: {calls: [{name: run_code, args: {code: "6 * 7"}}]}}, {when: {output: {equals: "42"}}, reply: works}]`
	tryCommand = `steps: [{when: {count: 0}, reply: {calls: [{name: run_command, args: {command: "echo it works; python3 --version"}}]}}, {when: {output: {}}, reply: "{{last_output}}"}]`
	tried      = "it works"
)

// checkRuntime opens a runtime in a temporary folder and has it work.
func checkRuntime(ctx context.Context, cfg app.Config, r *report) (err error) {
	dir, err := os.MkdirTemp("", "stayd-doctor-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for name, content := range map[string]string{"js.yaml": tryJS, "bubblewrap.yaml": tryCommand, "gvisor.yaml": tryCommand} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	where := "SQLite in the data folder"
	if cfg.Store != "" {
		where = "PostgreSQL; this check did not touch it"
	}
	trial := cfg
	trial.Data, trial.Scripts, trial.Store = filepath.Join(dir, "data"), dir, ""
	rt, err := embed(ctx, trial, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.close()) }() //nolint:contextcheck // it is closed after the context has ended, too
	r.good("store", "%s", where)
	if _, err := try(ctx, rt, "js"); err != nil {
		r.bad("sandbox js", "%s", client.Message(err))
	} else {
		r.good("sandbox js", "runs JavaScript")
	}
	limits := rt.app.Limits()
	for _, name := range []string{"bubblewrap", "gvisor"} {
		said, err := try(ctx, rt, name)
		switch {
		case err != nil:
			r.note("sandbox "+name, "%s", client.Message(err))
		case !strings.Contains(said, tried):
			r.note("sandbox "+name, "a command did not run as it should: %s", show.Shorten(said, 200))
		default:
			r.good("sandbox "+name, "runs commands and %s; %s", languages(said), limits[name])
		}
	}
	checkModels(ctx, rt.app, r)
	return nil
}

// tryTimeout bounds one trial of a sandbox.
const tryTimeout = 30 * time.Second

// try runs a scripted session in the sandbox, and returns what was shown of it.
func try(ctx context.Context, rt *runtime, sandbox string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	s, err := rt.SDK.Beta.Agents.Sessions.New(ctx, openai.BetaAgentSessionNewParams{}, option.WithRequestBody("application/json", []byte(
		`{"environment":{"type":"openai_hosted","sandbox":"`+sandbox+`"},"agent":{"model":"script/`+sandbox+`"},"input":"Multiply."}`,
	)))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = newFollower(rt, s.ID, client.FromStart, output{out: &out}).run(ctx, nil)
	return out.String(), err
}

// languages says in which languages code was seen to run.
func languages(said string) string {
	if strings.Contains(said, "Python 3") {
		return "code in Python and JavaScript"
	}
	return "code in JavaScript; install python3 for Python"
}

func checkModels(ctx context.Context, a *app.App, r *report) {
	for _, p := range a.Models().Providers() {
		if p.Unavailable != "" {
			r.note("provider "+p.Name, "%s", p.Unavailable)
		} else {
			r.good("provider "+p.Name, "configured; it was not called")
		}
	}
	if name, ok := a.Models().FirstAvailable(ctx); ok {
		r.good("model", "%s is taken where none is named", name)
	} else {
		r.note("model", "none is ready: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or start Ollama; scripts work without")
	}
}
