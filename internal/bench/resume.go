package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/snapshot"
)

// Resume is how fast a session's environment is there again that was suspended.
type Resume struct {
	Sandbox   string  `json:"sandbox"` // in which the first command is run
	Files     int     `json:"files"`
	Bytes     int64   `json:"bytes"`
	CaptureMS float64 `json:"capture_ms"` // of all of it, for the first time
	// Restore is the workspace alone, into a folder that is new; Whole has the
	// opening of the environment before and the first command after it, too. Copy is the
	// machine's limit for both: the same files copied, by as many threads as there
	// are processors, from memory, each time before a resumption.
	Restore Timing `json:"restore"`
	Whole   Timing `json:"resume"`
	Copy    Timing `json:"copy"`
	// Equal is Whole where the folder is still there and has what it should.
	Equal Timing `json:"resume_where_nothing_differs"`
}

// maxResumes bounds how many copies of the workspace lie on the disk.
const maxResumes = 20

// resumption is a workspace that is in the store, and is resumed.
type resumption struct {
	*ComputeOptions
	sandbox string
	tree    *snapshot.Tree
	root    snapshot.Root
	dir     string // of the copies
}

func (o *ComputeOptions) resume(ctx context.Context, works map[string]bool) (r Resume, err error) {
	o.Progress("a workspace that is restored from the store")
	st, err := o.Open(ctx, "resume")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	w := resumption{ComputeOptions: o, sandbox: event.SandboxJS, tree: snapshot.New(st.Blobs(), "bench"), dir: filepath.Join(o.Dir, "resume")}
	for _, name := range []string{event.SandboxBubblewrap, event.SandboxGVisor} {
		if works[name] {
			w.sandbox = name
			break
		}
	}
	r = Resume{Sandbox: w.sandbox, Files: o.Sizes.ResumeFiles, Bytes: o.Sizes.ResumeBytes}
	from := filepath.Join(w.dir, "original")
	if err := makeTree(from, r.Files, r.Bytes); err != nil {
		return r, err
	}
	began := time.Now()
	if w.root, err = capture(ctx, w.tree, from); err != nil {
		return r, err
	}
	r.CaptureMS = ms(time.Since(began))
	err = w.measure(ctx, &r, from)
	return r, errors.Join(err, os.RemoveAll(w.dir))
}

// capture stores what a folder holds.
func capture(ctx context.Context, tree *snapshot.Tree, dir string) (snapshot.Root, error) {
	f, err := snapshot.OpenFolder(tree, dir, dir+".index")
	if err != nil {
		return snapshot.Root{}, err
	}
	shot, err := f.Capture(ctx)
	return shot.Root, err
}

func (w *resumption) measure(ctx context.Context, r *Resume, from string) (err error) {
	var copied, restored []time.Duration
	r.Whole, err = repeat(ctx, 2*w.Duration, maxResumes, func(n int) (time.Duration, error) {
		// What was written before is not to be on its way to the disk meanwhile.
		flush()
		began := time.Now()
		if err := copyTree(from, filepath.Join(w.dir, "copy"+strconv.Itoa(n))); err != nil {
			return 0, err
		}
		plain := time.Since(began)
		flush()
		restore, whole, err := w.once(ctx, "new"+strconv.Itoa(n))
		if n > 0 {
			copied, restored = append(copied, plain), append(restored, restore)
		}
		return whole, err
	})
	if err != nil {
		return err
	}
	r.Copy, r.Restore = timing(copied), timing(restored)
	r.Equal, err = repeat(ctx, w.Duration, maxTimes, func(int) (time.Duration, error) {
		_, whole, err := w.once(ctx, "new1")
		return whole, err
	})
	return err
}

// once resumes the environment in a folder, as a server does, and returns how long
// the restoring of its workspace took, and how long all.
func (w *resumption) once(ctx context.Context, name string) (restore, whole time.Duration, err error) {
	spec, err := w.spec("resume_" + name)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	srv, err := w.Drivers[w.sandbox].Open(ctx, spec)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	restoring := time.Now()
	f, err := snapshot.OpenFolder(w.tree, spec.WorkspaceDir(), filepath.Join(spec.Dir, ".index"))
	if err != nil {
		return 0, 0, err
	}
	if err := f.Restore(ctx, w.root); err != nil {
		return 0, 0, err
	}
	restore = time.Since(restoring)
	err = first(ctx, srv, w.sandbox)
	return restore, time.Since(began), err
}

// makeTree makes a folder of files of equal size: half of each is text, the other
// half cannot be compressed.
func makeTree(dir string, files int, size int64) error {
	words := wordList()
	noise := rand.NewChaCha8([32]byte{1})
	each := int(size / int64(files))
	old := time.Now().Add(-time.Hour).Truncate(time.Second) // as of a workspace that has rested
	for i := range files {
		folder := filepath.Join(dir, "folder"+strconv.Itoa(i%20))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("make a workspace: %w", err)
		}
		data := make([]byte, each)
		copy(data, sentence(words, uint64(i), each/2))
		noise.Read(data[each/2:]) //nolint:errcheck,gosec // it never fails
		path := filepath.Join(folder, "file"+strconv.Itoa(i))
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, old, old)); err != nil {
			return fmt.Errorf("make a workspace: %w", err)
		}
	}
	return nil
}

// copyTree copies a folder.
func copyTree(from, to string) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		g.Go(func() error { return copyFile(path, target) })
		return nil
	})
	return errors.Join(err, g.Wait())
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(filepath.Clean(from))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(filepath.Clean(to), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
