package effect

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/tool"
)

// place is a session's environment in this process.
type place struct {
	// mu is held while the place is opened, closed or looked at, and not while a
	// call is made in it.
	mu    sync.Mutex
	left  bool        // it is no session's any more
	open  atomic.Bool // whether srv is there
	srv   tool.Server // nil while it is closed
	proxy environment.Proxy
	// caller is for whom secrets are asked for; nil where none are. secrets are the ids
	// of those that it was opened with.
	caller  atomic.Pointer[tool.Caller]
	secrets []string
	tree    *snapshot.Tree
	folder  *snapshot.Folder

	root  event.Hash          // what the folder held when it was last looked at
	own   map[event.Hash]bool // the roots that came about here
	calls int                 // under way
	// dirty says that the folder is not to be kept as it is: a call that is to be
	// made again was broken off, or a restoring.
	dirty bool

	requests requests
}

// close ends what runs in the place. The caller holds mu.
func (p *place) close() {
	if p.srv != nil {
		p.srv.Close() //nolint:errcheck,gosec // nothing can be done about it, and nothing is lost: the log has it all
		if p.proxy != nil {
			p.proxy.Close() //nolint:errcheck,gosec // as above
		}
	}
	p.srv, p.proxy, p.folder = nil, nil, nil
	p.open.Store(false)
}

// busy reports whether programs that nobody waits for run in the place.
func (p *place) busy() bool {
	b, ok := p.srv.(interface{ Busy() bool })
	return ok && b.Busy()
}

// settle makes the folder what the log says, where it is not: after a call that
// was broken off, and where files were put into the workspace from elsewhere.
// The caller holds mu, and no call is under way.
func (p *place) settle(ctx context.Context, root event.Hash) error {
	switch {
	case p.dirty:
	case p.own[root]:
		return nil
	default:
		var err error
		if root, err = p.merge(ctx, root); err != nil {
			return fmt.Errorf("bring the workspace up to date: %w", err)
		}
	}
	p.dirty = true
	if err := p.folder.Restore(ctx, root); err != nil {
		return fmt.Errorf("restore the workspace: %w", err)
	}
	p.root, p.dirty = root, false
	p.own[root] = true
	return nil
}

// merge returns the root with what changed in the folder meanwhile, by programs
// that run in the background. Where both changed a file, the log's is taken.
func (p *place) merge(ctx context.Context, root event.Hash) (event.Hash, error) {
	here, err := p.folder.Capture(ctx)
	if err != nil || here.Root == p.root {
		return root, err
	}
	changes, err := p.tree.Diff(ctx, p.root, root)
	if err != nil {
		return root, err
	}
	merged := here.Root
	for i := range changes {
		if merged, err = p.take(ctx, merged, root, &changes[i]); err != nil {
			return root, err
		}
	}
	return merged, nil
}

// take makes a change of the tree from in the tree to.
func (p *place) take(ctx context.Context, to, from event.Hash, c *snapshot.Change) (event.Hash, error) {
	if c.Kind == snapshot.Removed {
		return p.tree.Remove(ctx, to, c.Path)
	}
	if c.After.Kind != snapshot.File {
		return to, nil // the door puts files only
	}
	content, e, err := p.tree.Open(ctx, from, c.Path)
	if err != nil {
		return to, err
	}
	next, _, err := p.tree.WriteFile(ctx, to, c.Path, content, e.Mode)
	return next, errors.Join(err, content.Close())
}

// capture stores what changed, and returns the payload that says so, or nil. The
// caller holds mu.
func (p *place) capture(ctx context.Context) (*event.Snapshot, error) {
	if p.dirty {
		return nil, nil // it is made what the log says before it is used again
	}
	shot, err := p.folder.Capture(ctx)
	if err != nil {
		return nil, err
	}
	if shot.Root == p.root {
		return nil, nil
	}
	p.root = shot.Root
	p.own[shot.Root] = true
	s := &event.Snapshot{Root: shot.Root, Files: shot.Files, Bytes: shot.Bytes}
	for i := range shot.Changed {
		if f := &shot.Changed[i]; f.Kind == snapshot.File && strings.HasPrefix(f.Path, event.ArtifactsFolder+"/") {
			s.Artifacts = append(s.Artifacts, event.ArtifactFile{Path: strings.ToValidUTF8(f.Path, "\uFFFD"), Size: f.Size})
		}
	}
	for _, name := range shot.Skipped {
		s.Skipped = append(s.Skipped, strings.ToValidUTF8(path.Join(environment.Workspace, name), "\uFFFD"))
	}
	return s, nil
}

// holds is the payload that says that the workspace holds the tree.
func (p *place) holds(ctx context.Context, root event.Hash) (*event.Snapshot, error) {
	files, bytes, err := p.tree.Size(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("measure the workspace: %w", err)
	}
	return &event.Snapshot{Root: root, Files: files, Bytes: bytes}, nil
}

// Bounds of the record of requests, of which programs say what is in it.
const (
	maxRequests = 500     // in one record
	maxPath     = 2 << 10 // bytes of a path
	maxMethod   = 32      // bytes of a method
)

// requests are those that the place's programs made and no record lists yet.
type requests struct {
	mu      sync.Mutex
	list    []event.EgressRequest
	dropped int64
}

func (p *place) request(r event.EgressRequest) {
	p.requests.mu.Lock()
	defer p.requests.mu.Unlock()
	if len(p.requests.list) == maxRequests {
		p.requests.dropped++
		return
	}
	r.Path, r.Method = short(r.Path, maxPath), short(r.Method, maxMethod)
	p.requests.list = append(p.requests.list, r)
}

// short is the text without what is more than so many bytes of it, in memory too.
func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(strings.Clone(s[:most]), "")
}

// egress returns the payload that lists the requests since the last, or nil.
func (p *place) egress() *event.Egress {
	p.requests.mu.Lock()
	defer p.requests.mu.Unlock()
	if len(p.requests.list) == 0 {
		return nil
	}
	e := &event.Egress{Requests: p.requests.list, Dropped: p.requests.dropped}
	p.requests.list, p.requests.dropped = nil, 0
	return e
}

// captureGrace is how long the store may take for the files of a call after the
// call was broken off.
const captureGrace = 10 * time.Second

// outlive returns a context that ends some time after another has.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	over, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(by):
			cancel(context.Cause(ctx))
		case <-over.Done():
		}
	})
	return over, func() {
		stop()
		cancel(context.Canceled)
	}
}

// capturePause is how long to wait before a capture that failed is tried again.
const capturePause = time.Second

// captureSoon is capture, tried again for as long as the store does not take
// it, since without it the outcome of the call cannot be written either.
func (p *place) captureSoon(ctx context.Context) (*event.Snapshot, error) {
	for {
		s, err := p.capture(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, snapshot.ErrTooLarge) || errors.Is(err, snapshot.ErrCorrupt) {
			return s, err
		}
		t := time.NewTimer(capturePause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}
