package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store"
)

// Forks is what forks of a session with a workspace take.
type Forks struct {
	WorkspaceBytes int64   `json:"workspace_bytes"`
	StoredBytes    int64   `json:"stored_bytes"` // of the store, with the session and before any fork
	Count          int     `json:"count"`
	PerSecond      float64 `json:"forks_per_s"`
	BytesPerFork   float64 `json:"bytes_per_fork"`
	Share          float64 `json:"share_of_workspace"` // BytesPerFork / WorkspaceBytes
	// Of forks that each changed a file, ChangedBytes of which were new.
	Changed             int     `json:"changed"`
	ChangedBytes        int64   `json:"changed_new_bytes"`
	BytesPerChangedFork float64 `json:"bytes_per_changed_fork"`
	ChangedShare        float64 `json:"share_of_workspace_changed"`
}

const (
	forkers     = 16 // that fork at once
	forkProject = "bench"
	forkParent  = "sess_forked"
	forkChange  = 4096 // bytes
)

func (o *ComputeOptions) forks(ctx context.Context) (r Forks, err error) {
	o.Progress(fmt.Sprintf("%d forks of a session with a workspace", o.Sizes.Forks))
	r = Forks{WorkspaceBytes: o.Sizes.ForkBytes, Count: o.Sizes.Forks, Changed: o.Sizes.Changed, ChangedBytes: forkChange}
	dir := filepath.Join(o.Dir, "forked")
	if err := makeTree(dir, o.Sizes.ForkFiles, o.Sizes.ForkBytes); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var root snapshot.Root
	var seq int64
	r.StoredBytes, err = o.stored(ctx, func(f *forking) (err error) {
		root, seq, err = f.parent(ctx, dir, o.Sizes)
		return err
	})
	if err != nil {
		return r, err
	}
	forked, err := o.stored(ctx, func(f *forking) error {
		began := time.Now()
		err := f.fork(ctx, seq, r.Count)
		r.PerSecond = float64(r.Count) / time.Since(began).Seconds()
		return err
	})
	if err != nil {
		return r, err
	}
	r.BytesPerFork = float64(forked-r.StoredBytes) / float64(r.Count)
	r.Share = r.BytesPerFork / float64(r.WorkspaceBytes)
	changed, err := o.stored(ctx, func(f *forking) error { return f.change(ctx, root, r.Changed) })
	if err != nil {
		return r, err
	}
	r.BytesPerChangedFork = float64(changed-forked) / float64(r.Changed)
	r.ChangedShare = r.BytesPerChangedFork / float64(r.WorkspaceBytes)
	return r, nil
}

// forking is the journal over the store that holds the forks.
type forking struct {
	journal *journal.Journal
	tree    *snapshot.Tree
}

// stored runs do, and returns how large the store is when it has been closed, so
// that nothing is counted that is only in its write-ahead log.
func (o *ComputeOptions) stored(ctx context.Context, do func(*forking) error) (int64, error) {
	st, err := o.Open(ctx, "forks")
	if err != nil {
		return 0, err
	}
	if err := errors.Join(overJournal(ctx, st, do), st.Close()); err != nil {
		return 0, err
	}
	if st, err = o.Open(ctx, "forks"); err != nil {
		return 0, err
	}
	u, err := st.Usage(ctx)
	return u.Bytes, errors.Join(err, st.Close())
}

func overJournal(ctx context.Context, st store.Store, do func(*forking) error) error {
	holder := cluster.New(st, cluster.Owner(), cluster.DefaultTTL, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err := holder.Acquire(ctx, 2*cluster.DefaultTTL, nil); err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	holder.Start(running)
	err := do(&forking{journal.New(st, holder, time.Now, func(journal.Commit) {}), snapshot.New(st.Blobs(), forkProject)})
	cancel()
	holder.Stop(context.WithoutCancel(ctx))
	return err
}

// parent makes the session that is forked, which has had a turn in which its
// workspace came to be.
func (f *forking) parent(ctx context.Context, dir string, sizes Sizes) (root snapshot.Root, seq int64, err error) {
	if root, err = capture(ctx, f.tree, dir); err != nil {
		return root, 0, err
	}
	err = f.journal.Create(ctx, forkProject, forkParent, func(tx *journal.Tx) error {
		err := tx.Append(
			&event.SessionCreated{Project: forkProject, Agent: agent(), Environment: event.Environment{Type: event.EnvironmentHosted, ID: "env_forked", Sandbox: event.SandboxBubblewrap}},
			&event.TurnCreated{TurnID: "turn_forked", Items: []event.Item{userMessage("msg_forked", "Make the files.")}},
			&event.EnvironmentChanged{TurnID: "turn_forked", Status: session.PlaceReady},
			&event.Snapshot{TurnID: "turn_forked", Root: root, Files: int64(sizes.ForkFiles), Bytes: sizes.ForkBytes},
			&event.TurnEnded{TurnID: "turn_forked", Status: session.TurnCompleted},
		)
		seq = tx.State.Seq
		return err
	})
	return root, seq, err
}

func forkID(i int) string { return "sess_fork_" + strconv.Itoa(i) }

// fork makes n forks.
func (f *forking) fork(ctx context.Context, seq int64, n int) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range forkers {
		g.Go(func() error {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				id := forkID(i)
				err := f.journal.Fork(ctx, forkProject, forkParent, seq, id, func(tx *journal.Tx) error {
					return tx.Append(&event.SessionForked{From: forkParent, At: seq, EnvironmentID: "env_" + id})
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// change gives each of the first n forks another content of a file.
func (f *forking) change(ctx context.Context, root snapshot.Root, n int) error {
	noise := rand.NewChaCha8([32]byte{2})
	for i := 1; i <= n; i++ {
		content, err := io.ReadAll(io.LimitReader(noise, forkChange))
		if err != nil {
			return err
		}
		next, _, err := f.tree.WriteFile(ctx, root, "folder0/file0", bytes.NewReader(content), 0o600)
		if err != nil {
			return err
		}
		files, size, err := f.tree.Size(ctx, next)
		if err != nil {
			return err
		}
		err = f.journal.Update(ctx, forkProject, forkID(i), func(tx *journal.Tx) error {
			return tx.Append(&event.Snapshot{Root: next, Files: files, Bytes: size})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
