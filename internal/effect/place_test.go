package effect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/tool"
)

// sandbox is a driver whose environments do what the test says. No two of them
// may have the same folder at once.
type sandbox struct {
	call func(ctx context.Context, workspace string) (tool.Result, error)

	mu   sync.Mutex
	open map[string]bool
	both int // how often a folder was opened that was open
	spec environment.Spec
}

func (s *sandbox) Check(context.Context) error { return nil }

func (s *sandbox) Open(_ context.Context, spec environment.Spec) (tool.Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[spec.Dir] {
		s.both++
	}
	s.open[spec.Dir] = true
	s.spec = spec
	return &room{s, spec}, nil
}

type room struct {
	sandbox *sandbox
	spec    environment.Spec
}

func (r *room) List(context.Context) ([]event.ToolSpec, error) { return nil, nil }

func (r *room) Call(ctx context.Context, _ tool.Call) (tool.Result, error) {
	return r.sandbox.call(ctx, r.spec.WorkspaceDir())
}

func (r *room) Close() error {
	r.sandbox.mu.Lock()
	defer r.sandbox.mu.Unlock()
	r.sandbox.open[r.spec.Dir] = false
	return nil
}

// household is a performer with one sandbox, and the store of its files.
type household struct {
	*effect.Performer
	blobs   *blobtest.Memory
	sandbox *sandbox
}

func newHousehold(t *testing.T, call func(ctx context.Context, workspace string) (tool.Result, error)) *household {
	t.Helper()
	h := &household{blobs: blobtest.NewMemory(), sandbox: &sandbox{call: call, open: map[string]bool{}}}
	h.Performer = &effect.Performer{Feed: feed.New(), Now: time.Now, Environments: &effect.Environments{
		Dir: t.TempDir(), Blobs: h.blobs, Sandboxes: map[string]environment.Driver{"": h.sandbox},
	}}
	t.Cleanup(h.Environments.Close)
	return h
}

// away has the store take nothing more.
func (h *household) away(err error) {
	h.blobs.Fail(func(op string) error {
		if op == "put" {
			return err
		}
		return nil
	})
}

func job(what event.EffectKind, class event.Class, attempt int) effect.Job {
	return effect.Job{
		Project: "p", Session: "s", Environment: event.Environment{Type: event.EnvironmentHosted},
		Start: loop.Start{
			ID: "eff", What: what, TurnID: "turn", Attempt: attempt, Class: class, Server: event.EnvironmentLabel,
			Item: &event.Item{Type: event.ItemMCPCall, Name: "call"},
		},
	}
}

// write has a call leave a file behind.
func write(t *testing.T, workspace string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(workspace, "result"), []byte("42"), 0o600); err != nil {
		t.Error(err)
	}
}

// said is what an outcome has to say, as it is written.
func said(t *testing.T, out effect.Outcome) string {
	t.Helper()
	if out == nil {
		return "nothing"
	}
	var all strings.Builder
	for _, p := range out(nil) {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %s\n", p.Kind(), data)
	}
	return all.String()
}

var errAway = errors.New("the store is away")

func TestFilesThatCannotBeKeptAreTold(t *testing.T) {
	const note = "The files could not be kept"
	for _, tt := range []struct {
		name    string
		what    event.EffectKind
		class   event.Class
		attempt int
		timeout int64 // of the call, in seconds
		fails   bool  // the call
		setup   bool
		want    event.Kind
		told    string
	}{
		{"answered", event.EffectTool, event.Idempotent, 1, 0, false, false, event.KindEffectFinished, note},
		{"once, broken off", event.EffectTool, event.Once, 1, 0, true, false, event.KindEffectUnknown, note},
		{"pure, over its time", event.EffectTool, event.Pure, 1, 1, false, false, event.KindEffectFailed, note},
		{"set-up, to be tried again", event.EffectEnvironment, event.Idempotent, 1, 0, false, true, event.KindEffectFailed, note},
		{"set-up, for the last time", event.EffectEnvironment, event.Idempotent, 3, 0, false, true, event.KindEnvironmentChanged, note},
		{"suspended", event.EffectSuspend, event.Idempotent, 1, 0, false, false, event.KindEnvironmentChanged, "What changed since the last call could not be kept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHousehold(t, func(ctx context.Context, workspace string) (tool.Result, error) {
					write(t, workspace)
					if tt.timeout > 0 {
						<-ctx.Done()
					}
					if tt.fails || ctx.Err() != nil {
						return tool.Result{}, &tool.Error{Message: "no answer", Sent: true}
					}
					return tool.Text("done"), nil
				})
				if tt.what == event.EffectSuspend {
					// Something goes on writing after its call.
					h.Perform(t.Context(), job(event.EffectTool, event.Idempotent, 1))
					if err := os.WriteFile(filepath.Join(h.sandbox.spec.WorkspaceDir(), "log"), []byte("later"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				h.away(fmt.Errorf("%w: %w", errAway, blob.ErrCorrupt)) // to wait does not help
				j := job(tt.what, tt.class, tt.attempt)
				j.Policy.TimeoutSeconds = tt.timeout
				if tt.setup {
					j.Environment.Setup = []event.SetupCommand{{Command: "make"}}
				}
				out := h.Perform(t.Context(), j)
				if out == nil {
					t.Fatal("nothing is written")
				}
				all := out(nil)
				last := said(t, func(*session.State) []event.Payload { return all[len(all)-1:] })
				if !strings.HasPrefix(last, string(tt.want)+" ") || !strings.Contains(last, tt.told) || !strings.Contains(last, errAway.Error()) {
					t.Errorf("written:\n%swant %s that says %q, and why", last, tt.want, tt.told)
				}
			})
		})
	}
}

func TestStoreThatIsAwayDoesNotHoldUpAStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		class  event.Class
		cause  error
		answer bool // the call's, although it is stopped
		panics bool
		want   string
		after  time.Duration
	}{
		{"the turn is cancelled", event.Once, context.Canceled, false, false, "effect.unknown", 10 * time.Second},
		{"the turn is cancelled as the call is done", event.Once, context.Canceled, true, false, "effect.finished", 10 * time.Second},
		{"the process stops", event.Idempotent, effect.ErrShutdown, false, false, "nothing", 0},
		{"the process stops as the call is done", event.Idempotent, effect.ErrShutdown, true, false, "nothing", 10 * time.Second},
		{"the process stops as a call is done that cannot be made again", event.Once, effect.ErrShutdown, true, false, "effect.finished", 10 * time.Second},
		{"the call panics", event.Idempotent, context.Canceled, false, true, "effect.unknown", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				h := newHousehold(t, func(ctx context.Context, workspace string) (tool.Result, error) {
					write(t, workspace)
					stop(tt.cause)
					<-ctx.Done()
					if tt.panics {
						panic("no more")
					}
					if tt.answer {
						return tool.Text("done"), nil
					}
					return tool.Result{}, &tool.Error{Message: "no answer", Sent: true, Err: context.Cause(ctx)}
				})
				h.away(errAway)
				began := time.Now()
				out := h.Perform(ctx, job(event.EffectTool, tt.class, 1))
				took := time.Since(began)
				if took > tt.after+time.Second || took < tt.after {
					t.Errorf("it took %v, want %v", took, tt.after)
				}
				if got := said(t, out); !strings.Contains(got, tt.want) {
					t.Errorf("written:\n%swant %s", got, tt.want)
				}
			})
		})
	}
}

// A call may be stopped in the moment in which it is done.
func TestFilesOfAnAnsweredCallAreKeptAlthoughItIsStopped(t *testing.T) {
	for _, cause := range []error{context.Canceled, effect.ErrShutdown} {
		ctx, stop := context.WithCancelCause(t.Context())
		h := newHousehold(t, func(_ context.Context, workspace string) (tool.Result, error) {
			write(t, workspace)
			stop(cause)
			return tool.Text("done"), nil
		})
		got := said(t, h.Perform(ctx, job(event.EffectTool, event.Idempotent, 1)))
		if !strings.Contains(got, "environment.snapshot {") || !strings.Contains(got, "effect.finished {") || strings.Contains(got, "could not be kept") {
			t.Errorf("stopped by %v, written:\n%s", cause, got)
		}
	}
}

func TestAnAnswerWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t, func(_ context.Context, workspace string) (tool.Result, error) {
			write(t, workspace)
			return tool.Text("done"), nil
		})
		h.away(errAway)
		time.AfterFunc(time.Minute, func() { h.blobs.Fail(nil) })
		got := said(t, h.Perform(t.Context(), job(event.EffectTool, event.Once, 1)))
		if !strings.Contains(got, "environment.snapshot {") || strings.Contains(got, "could not be kept") {
			t.Errorf("written:\n%s", got)
		}
	})
}

// What a call left that is to be made again is half of what it does.
func TestSuspendKeepsNothingOfACallThatWasBrokenOff(t *testing.T) {
	h := newHousehold(t, func(_ context.Context, workspace string) (tool.Result, error) {
		write(t, workspace)
		return tool.Result{}, &tool.Error{Message: "no answer", Sent: true}
	})
	if got := said(t, h.Perform(t.Context(), job(event.EffectTool, event.Idempotent, 1))); strings.Contains(got, "environment.snapshot") {
		t.Errorf("written after the call:\n%s", got)
	}
	got := said(t, h.Perform(t.Context(), job(event.EffectSuspend, "", 1)))
	if strings.Contains(got, "environment.snapshot") || !strings.Contains(got, `"suspended"`) {
		t.Errorf("written when it was suspended:\n%s", got)
	}
}

// Whatever the store fails to give while a file comes into the workspace from
// elsewhere, the next call finds the file.
func TestACallAfterARestoringThatBrokeOff(t *testing.T) {
	for n := 1; ; n++ {
		h := newHousehold(t, func(_ context.Context, workspace string) (tool.Result, error) {
			write(t, workspace)
			return tool.Text("done"), nil
		})
		j := job(event.EffectTool, event.Idempotent, 1)
		j.Place.Root = rootOf(t, h.Perform(t.Context(), j))
		var err error
		if j.Place.Root, _, err = snapshot.New(h.blobs, "p").WriteFile(t.Context(), j.Place.Root, "put", strings.NewReader("from elsewhere"), 0o644); err != nil {
			t.Fatal(err)
		}
		// A program in the background writes meanwhile, so that both are put together.
		if err := os.WriteFile(filepath.Join(h.sandbox.spec.WorkspaceDir(), "log"), []byte("later"), 0o600); err != nil {
			t.Fatal(err)
		}
		gets := 0
		h.blobs.Fail(func(op string) error {
			if op != "get" {
				return nil
			}
			if gets++; gets == n {
				return errAway
			}
			return nil
		})
		got := said(t, h.Perform(t.Context(), j))
		h.blobs.Fail(nil)
		if gets < n {
			if n < 4 {
				t.Fatalf("the store was asked %d times", gets)
			}
			return
		}
		if !strings.Contains(got, "effect.failed {") {
			t.Errorf("written without the answer %d of the store:\n%s", n, got)
		}
		if got := said(t, h.Perform(t.Context(), j)); !strings.Contains(got, "effect.finished {") {
			t.Errorf("written when the store was back, after its answer %d was lost:\n%s", n, got)
		}
		data, err := os.ReadFile(filepath.Join(h.sandbox.spec.WorkspaceDir(), "put"))
		if err != nil || string(data) != "from elsewhere" {
			t.Errorf("after the answer %d of the store was lost, the workspace has %q, %v", n, data, err)
		}
	}
}

// rootOf is the tree that an outcome names.
func rootOf(t *testing.T, out effect.Outcome) event.Hash {
	t.Helper()
	for _, p := range out(nil) {
		if s, ok := p.(*event.Snapshot); ok {
			return s.Root
		}
	}
	t.Fatal("there is no snapshot")
	return event.Hash{}
}

// closing is a proxy that nobody uses, and that counts how often it is closed.
type closing struct{ n *int }

func (*closing) Serve(net.Listener) error     { return nil }
func (*closing) Variables() map[string]string { return nil }
func (*closing) Certificates() []byte         { return nil }

func (c *closing) Close() error {
	*c.n++
	return nil
}

// A workspace that cannot be restored leaves nothing open, and is opened again.
func TestNothingIsOpenWithoutAWorkspace(t *testing.T) {
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) { return tool.Text("done"), nil })
	closed := 0
	h.Environments.Egress = func(*event.Network, *environment.Secrets, func(event.EgressRequest)) (environment.Proxy, error) {
		return &closing{&closed}, nil
	}
	root, _, err := snapshot.New(h.blobs, "p").WriteFile(t.Context(), event.Hash{}, "f", strings.NewReader("content"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	j := job(event.EffectTool, event.Idempotent, 1)
	j.Environment.Network, j.Place.Root = &event.Network{}, root
	h.blobs.Fail(func(string) error { return errAway })
	if got := said(t, h.Perform(t.Context(), j)); !strings.Contains(got, "restore the workspace") || closed != 1 || h.sandbox.open[h.sandbox.spec.Dir] {
		t.Errorf("the proxy was closed %d times, the sandbox is open: %v; written:\n%s", closed, h.sandbox.open, got)
	}
	h.blobs.Fail(nil)
	if got := said(t, h.Perform(t.Context(), j)); !strings.Contains(got, "effect.finished {") {
		t.Errorf("written when the store was back:\n%s", got)
	}
}

func TestRequestsOfASetUpThatFailedAreTold(t *testing.T) {
	var request func(event.EgressRequest)
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) {
		request(event.EgressRequest{Host: "example.org"})
		return tool.Failure("there is no make"), nil
	})
	h.Environments.Egress = func(_ *event.Network, _ *environment.Secrets, record func(event.EgressRequest)) (environment.Proxy, error) {
		request = record
		return nil, nil
	}
	j := job(event.EffectEnvironment, event.Idempotent, 1)
	j.Environment.Network = &event.Network{}
	j.Environment.Setup = []event.SetupCommand{{Command: "make"}}
	got := said(t, h.Perform(t.Context(), j))
	if !strings.Contains(got, "environment.egress {") || !strings.Contains(got, "example.org") || !strings.Contains(got, `"failed"`) {
		t.Errorf("written:\n%s", got)
	}
}

// A record of a request has no more of what the program wrote than fits.
func TestRecordsOfRequestsAreShort(t *testing.T) {
	var request func(event.EgressRequest)
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) {
		request(event.EgressRequest{Host: "example.org", Method: strings.Repeat("M", 1<<16), Path: "/" + strings.Repeat("é", 1<<16)})
		request(event.EgressRequest{Host: "example.org", Method: http.MethodGet, Path: "/as/it/is"})
		return tool.Text("done"), nil
	})
	h.Environments.Egress = func(_ *event.Network, _ *environment.Secrets, record func(event.EgressRequest)) (environment.Proxy, error) {
		request = record
		return nil, nil
	}
	j := job(event.EffectTool, event.Idempotent, 1)
	j.Environment.Network = &event.Network{}
	var got *event.Egress
	for _, p := range h.Perform(t.Context(), j)(nil) {
		if e, ok := p.(*event.Egress); ok {
			got = e
		}
	}
	if got == nil || len(got.Requests) != 2 {
		t.Fatalf("recorded %+v", got)
	}
	if long := got.Requests[0]; long.Method != strings.Repeat("M", 32) || long.Path != "/"+strings.Repeat("é", 1023) {
		t.Errorf("recorded %d bytes of the method and %d of the path", len(long.Method), len(long.Path))
	}
	if r := got.Requests[1]; r.Method != http.MethodGet || r.Path != "/as/it/is" {
		t.Errorf("recorded %+v", r)
	}
}

// What is prepared is prepared while the session is held, which nobody may be for
// as long as a workspace is restored.
func TestPrepareDoesNotWaitForAWorkspace(t *testing.T) {
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) { return tool.Text("done"), nil })
	j := job(event.EffectTool, event.Idempotent, 1)
	j.Place.Root = event.Hash{1}
	asked, prepared := make(chan struct{}), make(chan struct{})
	h.blobs.Fail(func(string) error {
		close(asked)
		<-prepared
		return errAway
	})
	var restoring sync.WaitGroup
	restoring.Go(func() { h.Perform(t.Context(), j) })
	<-asked
	h.Prepare(&session.State{ID: "s", Project: "p"}, j.Start, 1)
	close(prepared)
	restoring.Wait()
}

func TestOneEnvironmentASession(t *testing.T) {
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) { return tool.Text("done"), nil })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				h.Perform(t.Context(), job(event.EffectTool, event.Pure, 1))
			}
		})
		all.Go(func() {
			for range 50 {
				h.Leave("s")
			}
		})
	}
	all.Wait()
	h.Environments.Close()
	if h.sandbox.both > 0 {
		t.Errorf("the session's folder was opened %d times while it was open", h.sandbox.both)
	}
	for dir, open := range h.sandbox.open {
		if open {
			t.Errorf("%s was left open", dir)
		}
	}
}
