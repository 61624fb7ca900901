package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/tool"
)

// desk is an environment with one tool that appends a text to a file and then
// calls the world, with the number of the call as its turn.
type desk struct {
	w     *world
	spec  environment.Spec
	class event.Class
}

// desks has the world open desks. Each is kept.
func desks(w *world, class event.Class) *[]*desk {
	all := new([]*desk)
	w.open = func(_ context.Context, spec environment.Spec) (tool.Server, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		d := &desk{w: w, spec: spec, class: class}
		*all = append(*all, d)
		return d, nil
	}
	return all
}

func (d *desk) List(context.Context) ([]event.ToolSpec, error) {
	return []event.ToolSpec{{Name: "note", Class: d.class}}, nil
}

func (d *desk) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct{ File, Text string }
	if err := json.Unmarshal(c.Arguments, &args); err != nil {
		return tool.Result{}, &tool.Error{Message: err.Error(), Err: err}
	}
	name := filepath.Join(d.spec.WorkspaceDir(), args.File)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return tool.Result{}, &tool.Error{Message: err.Error(), Sent: true, Err: err}
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(args.Text)
		err = errors.Join(err, f.Close())
	}
	d.w.mu.Lock()
	d.w.calls = append(d.w.calls, c)
	n := len(d.w.calls)
	d.w.mu.Unlock()
	if err == nil && d.w.call != nil {
		_, err = d.w.call(ctx, tool.Call{Name: c.Name, TurnID: string(rune('0' + n))})
	}
	if err != nil {
		return tool.Result{}, &tool.Error{Message: err.Error(), Sent: true, Err: err}
	}
	return tool.Text("noted"), nil
}

func (d *desk) Close() error { return nil }

func note(file, text string) string {
	args, err := json.Marshal(map[string]string{"file": file, "text": text})
	if err != nil {
		panic(err)
	}
	return "note " + string(args)
}

// holds returns what the log says that the workspace holds: each file as
// name=content.
func (e *engine) holds() string {
	e.t.Helper()
	tree := snapshot.New(e.w.files(), project)
	var files []string
	e.view(func(s *session.State) {
		err := tree.Walk(e.t.Context(), s.Place.Root, "", func(f snapshot.Entry) error {
			r, _, err := tree.Open(e.t.Context(), s.Place.Root, f.Path)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(r)
			files = append(files, f.Path+"="+string(b))
			return errors.Join(err, r.Close())
		})
		if err != nil {
			e.t.Fatal(err)
		}
	})
	slices.Sort(files)
	return strings.Join(files, " ")
}

func (e *engine) wantHolds(want string) {
	e.t.Helper()
	if got := e.holds(); got != want {
		e.t.Errorf("the workspace holds %q, want %q", got, want)
	}
}

// hostedWith is a session's environment that begins with a file.
func hostedWith(c *event.SessionCreated) {
	c.Environment = event.Environment{
		Type: event.EnvironmentHosted, ID: "env", Sandbox: event.SandboxJS,
		Files: []event.InlineFile{{ID: "f", Path: "/workspace/given", Data: []byte("g")}},
	}
}

// TestWorkspaceMoves has one machine after another work in a workspace: what one
// left is there on the next.
func TestWorkspaceMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call(note("a", "1")), call(note("artifacts/b", "2")), say("done"), call(note("a", "3")))}
		desks(w, event.Idempotent)
		st := openStore(t)
		first := start(t, st, w)
		first.create(agent(nil), hostedWith)
		first.input("t1", "one")
		first.untilTurn("t1", session.TurnCompleted)
		first.wantHolds("a=1 artifacts/b=2 given=g")
		first.view(func(s *session.State) {
			if len(s.Artifacts) != 1 || s.Artifacts[0].Path != "artifacts/b" || s.Artifacts[0].TurnID != "t1" {
				t.Errorf("the artifacts are %+v", s.Artifacts)
			}
		})
		first.stop()
		second := start(t, st, w)
		second.input("t2", "two")
		second.untilTurn("t2", session.TurnCompleted)
		second.wantHolds("a=13 artifacts/b=2 given=g")
		second.view(func(s *session.State) {
			if s.Place.Resets != 1 || len(s.Artifacts) != 1 {
				t.Errorf("reset %d times, want once; %d artifacts, want the one of before", s.Place.Resets, len(s.Artifacts))
			}
		})
	})
}

// TestWorkspaceAfterCrash abandons a process in the middle of a call that has
// changed a file: the next one begins from what the log says.
func TestWorkspaceAfterCrash(t *testing.T) {
	for class, want := range map[event.Class]string{event.Idempotent: "a=12 given=g", event.Once: "a=1 given=g"} {
		t.Run(string(class), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, goOn := make(chan struct{}), make(chan struct{})
				w := &world{answer: script(call(note("a", "1")), call(note("a", "2")))}
				w.call = func(_ context.Context, c tool.Call) (tool.Result, error) {
					if c.TurnID == "2" {
						close(begun)
						<-goOn
					}
					return tool.Result{}, nil
				}
				desks(w, class)
				st := openStore(t)
				a := start(t, st, w)
				a.create(agent(nil), hostedWith)
				a.input("t1", "one")
				<-begun
				a.wantHolds("a=1 given=g")
				b := start(t, st, w)
				b.untilTurn("t1", session.TurnCompleted)
				b.wantHolds(want)
				close(goOn)
				a.asleep()
				b.wantHolds(want)
			})
		})
	}
}

// TestWorkspaceAfterFailure has a call fail half-way: it is made again on the
// files that it began with.
func TestWorkspaceAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call(note("a", "1")))}
		w.call = func(_ context.Context, c tool.Call) (tool.Result, error) {
			if c.TurnID == "1" {
				return tool.Result{}, errors.New("the sandbox broke")
			}
			return tool.Result{}, nil
		}
		desks(w, event.Idempotent)
		e := start(t, openStore(t), w)
		e.create(agent(nil), hostedWith)
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		e.wantHolds("a=1 given=g")
	})
}

// TestFilesFromOutside puts a file into a workspace that is open, and in which a
// program has changed another meanwhile.
func TestFilesFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call(note("a", "1")), say("done"), call(note("a", "2")))}
		all := desks(w, event.Idempotent)
		e := start(t, openStore(t), w)
		e.create(agent(nil), hostedWith)
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		dir := (*all)[0].spec.WorkspaceDir()
		if err := os.WriteFile(filepath.Join(dir, "background"), []byte("b"), 0o600); err != nil {
			t.Fatal(err)
		}
		tree := snapshot.New(w.files(), project)
		e.update(func(tx *journal.Tx) error {
			root, _, err := tree.WriteFile(t.Context(), tx.State.Place.Root, "put", strings.NewReader("p"), 0o644)
			if err == nil {
				root, err = tree.Remove(t.Context(), root, "given")
			}
			if err != nil {
				return err
			}
			return tx.Append(&event.Snapshot{Root: root})
		})
		e.input("t2", "two")
		e.untilTurn("t2", session.TurnCompleted)
		e.wantHolds("a=12 background=b put=p")
		if len(*all) != 1 {
			t.Errorf("the environment was opened %d times, want once", len(*all))
		}
	})
}

// TestFilesCannotBeKept tells the model where the store takes no files for good,
// and waits where it does not take them for a while.
func TestFilesCannotBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call(note("a", "1")))}
		desks(w, event.Idempotent)
		failures := 0
		w.files().Fail(func(op string) error {
			if op == "put" && len(w.began("note")) > 0 && failures < 3 {
				failures++
				return errors.New("the disk is full")
			}
			return nil
		})
		e := start(t, openStore(t), w)
		e.create(agent(nil), hostedWith)
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		e.wantHolds("a=1 given=g")
		if failures != 3 || len(w.began("note")) != 1 {
			t.Errorf("%d failures and %d calls, want 3 and 1", failures, len(w.began("note")))
		}
	})
}
