package effect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/tool"
)

// Environments opens the environments of sessions, and keeps them open between
// calls. The folder of an environment is a copy of what the log says that its
// workspace holds; nothing is lost with it. It is safe for use by many
// goroutines.
type Environments struct {
	// Sandboxes has the driver of each sandbox that is offered.
	Sandboxes map[string]environment.Driver
	// Dir is the folder that holds a folder for each session's environment.
	Dir string
	// Blobs has the contents of workspaces.
	Blobs blob.Store
	// Egress makes the way of an environment's programs to the network. record is
	// called with every request. Without secrets, s is nil.
	Egress func(n *event.Network, s *environment.Secrets, record func(event.EgressRequest)) (environment.Proxy, error)
	// Secrets returns those of the caller's vaults that are for programs. It may be
	// nil.
	Secrets func(ctx context.Context, c tool.Caller) ([]environment.Secret, error)
	// Remote returns the environment of the session that is connected from
	// elsewhere.
	Remote func(project, session string) (tool.Server, error)

	mu     sync.Mutex
	places map[string]*place // by session
}

// SessionDir is the folder of a session's environment.
func (e *Environments) SessionDir(project, session string) string {
	return filepath.Join(e.Dir, filepath.Base(project), filepath.Base(session))
}

func (e *Environments) place(session string) *place {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.places == nil {
		e.places = map[string]*place{}
	}
	p := e.places[session]
	if p == nil {
		p = &place{}
		e.places[session] = p
	}
	return p
}

// hold returns the session's place with its lock held. There is no other: two
// would have the same folder.
func (e *Environments) hold(session string) *place {
	for {
		p := e.place(session)
		p.mu.Lock()
		if !p.left {
			return p
		}
		p.mu.Unlock()
	}
}

// forget closes a place for good. The caller holds p.mu.
func (e *Environments) forget(session string, p *place) {
	p.close()
	p.left = true
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.places, session)
}

// isOpen reports whether the session's environment is open in this process. It
// does not wait for one that is being opened.
func (e *Environments) isOpen(session string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.places[session]
	return p != nil && p.open.Load()
}

// Leave closes the session's environment where it is open in this process.
func (e *Environments) Leave(session string) {
	p := e.hold(session)
	defer p.mu.Unlock()
	e.forget(session, p)
}

// Close closes all environments. None is asked for any more.
func (e *Environments) Close() {
	e.mu.Lock()
	all := slices.Collect(maps.Keys(e.places))
	e.mu.Unlock()
	var closing sync.WaitGroup
	for _, session := range all {
		closing.Go(func() { e.Leave(session) })
	}
	closing.Wait()
}

// Remove closes the session's environment and removes its folder.
func (e *Environments) Remove(project, session string) error {
	p := e.hold(session)
	defer p.mu.Unlock()
	e.forget(session, p)
	if err := os.RemoveAll(e.SessionDir(project, session)); err != nil {
		return fmt.Errorf("remove the folder of an environment: %w", err)
	}
	return nil
}

// open opens the place as the log has it. The caller holds p.mu.
func (e *Environments) open(ctx context.Context, p *place, job *Job) error {
	env := &job.Environment
	driver := e.Sandboxes[env.Sandbox]
	if driver == nil {
		return &environment.UnavailableError{Sandbox: env.Sandbox, Reason: "this server does not offer it", Install: "see stayd doctor"}
	}
	spec := environment.Spec{
		Project: job.Project, Session: job.Session, Dir: e.SessionDir(job.Project, job.Session), Env: env.Env, Languages: job.Languages,
	}
	if err := os.MkdirAll(spec.WorkspaceDir(), 0o700); err != nil {
		return fmt.Errorf("make the workspace: %w", err)
	}
	if env.Network != nil {
		secrets, err := e.secrets(ctx, p, job)
		if err != nil {
			return err
		}
		if spec.Proxy, err = e.Egress(env.Network, secrets, p.request); err != nil {
			return fmt.Errorf("open the way to the network: %w", err)
		}
	}
	// A sandbox that waits for the first program is made while the files come.
	srv, err := driver.Open(context.WithoutCancel(ctx), spec)
	if err != nil {
		if spec.Proxy != nil {
			err = errors.Join(err, spec.Proxy.Close())
		}
		return err
	}
	p.srv, p.proxy, p.tree = srv, spec.Proxy, snapshot.New(e.Blobs, job.Project)
	if p.folder, err = restored(ctx, p.tree, &spec, job.Place.Root); err != nil {
		p.close()
		return err
	}
	p.open.Store(true)
	p.root, p.own, p.dirty = job.Place.Root, map[event.Hash]bool{job.Place.Root: true}, false
	return nil
}

// restored returns the folder of the workspace, which has what it is to have.
func restored(ctx context.Context, tree *snapshot.Tree, spec *environment.Spec, root event.Hash) (*snapshot.Folder, error) {
	folder, err := snapshot.OpenFolder(tree, spec.WorkspaceDir(), filepath.Join(spec.Dir, ".index"))
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	if err := folder.Restore(ctx, root); err != nil {
		return nil, fmt.Errorf("restore the workspace: %w", err)
	}
	return folder, nil
}

// furnish returns the tree that the workspace begins with: the environment's
// files, put into the tree that it names.
func (e *Environments) furnish(ctx context.Context, job *Job) (event.Hash, error) {
	tree, root := snapshot.New(e.Blobs, job.Project), job.Place.Root
	for i := range job.Environment.Files {
		f := &job.Environment.Files[i]
		next, err := e.putFile(ctx, tree, root, f)
		if err != nil {
			return event.Hash{}, fmt.Errorf("put the file %s in place: %w", f.Path, err)
		}
		root = next
	}
	return root, nil
}

func (e *Environments) putFile(ctx context.Context, tree *snapshot.Tree, root event.Hash, f *event.InlineFile) (event.Hash, error) {
	path := strings.TrimPrefix(f.Path, environment.Workspace+"/")
	if f.Tree.IsZero() {
		next, _, err := tree.WriteFile(ctx, root, path, strings.NewReader(string(f.Data)), fileMode)
		return next, err
	}
	content, _, err := tree.OpenFile(ctx, f.Tree)
	if err != nil {
		return event.Hash{}, err
	}
	next, _, err := tree.WriteFile(ctx, root, path, content, fileMode)
	return next, errors.Join(err, content.Close())
}

const fileMode = 0o644
