//go:build unix

package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/snapshot"
)

var names = []string{"a", "b", "c.txt", ".git", "A", "ü", "\xff\xfe", "a\nb", " ", "-", "a\\b", "🙂"}

// change does something to a folder that a program could do.
func change(t *rapid.T, dir string) {
	path := dir
	for range rapid.IntRange(1, 3).Draw(t, "depth") {
		path = filepath.Join(path, rapid.SampledFrom(names).Draw(t, "name"))
	}
	must := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) &&
			!errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.EISDIR) && !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EPERM) {
			t.Fatal(err)
		}
	}
	// Links that the test itself made are not to be followed out of the folder.
	for p := path; p != dir; p = filepath.Dir(p) {
		if info, err := os.Lstat(p); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			must(os.Remove(p))
		}
	}
	must(os.MkdirAll(filepath.Dir(path), 0o755))
	switch rapid.IntRange(0, 9).Draw(t, "action") {
	case 0, 1, 2:
		must(os.WriteFile(path, content(t), 0o644))
	case 3:
		must(os.WriteFile(path, content(t), 0o600))
		must(os.Chtimes(path, time.Time{}, time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "time"), 123)))
	case 4:
		must(os.Mkdir(path, 0o700))
	case 5:
		must(os.RemoveAll(path))
		must(os.Symlink(rapid.SampledFrom([]string{"a", "..", "/etc/passwd", "../../../x", "\xff", "b/c"}).Draw(t, "target"), path))
	case 6:
		must(os.RemoveAll(path))
	case 7:
		must(os.Chmod(path, fs.FileMode(rapid.SampledFrom([]int{0o000, 0o444, 0o555, 0o755, 0o777, 0o640}).Draw(t, "mode"))))
	case 8:
		to := filepath.Join(dir, rapid.SampledFrom(names).Draw(t, "new name"))
		if err := os.Rename(path, to); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			must(err)
		}
	case 9:
		must(os.Link(path, filepath.Join(dir, rapid.SampledFrom(names).Draw(t, "second name"))))
	}
}

func content(t *rapid.T) []byte {
	n := rapid.SampledFrom([]int{0, 1, 100, 5000, 300 << 10, 3 << 20}).Draw(t, "size")
	if n > 0 && rapid.IntRange(0, 4).Draw(t, "zero") == 0 {
		return make([]byte, n)
	}
	seed := rapid.Uint64Range(0, 5).Draw(t, "seed")
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
	return data
}

// TestRoundTrip captures what random programs leave, restores it elsewhere, over
// what earlier restores left there, and compares.
func TestRoundTrip(t *testing.T) {
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		blobs := blobtest.NewMemory()
		tree := snapshot.New(blobs, project)
		dir, elsewhere := filepath.Join(base, fmt.Sprint(run, "-a")), filepath.Join(base, fmt.Sprint(run, "-b"))
		if err := os.Mkdir(dir, 0o755); err != nil {
			rt.Fatal(err)
		}
		f, g := openFolder(t, tree, dir), openFolder(t, tree, elsewhere)
		var roots []snapshot.Root
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 8).Draw(rt, "changes") {
				change(rt, dir)
			}
			if rapid.Bool().Draw(rt, "reopen") {
				f, g = openFolder(t, tree, dir), openFolder(t, tree, elsewhere)
			}
			snap := capture(t, f)
			blobs.Counts()
			if again := capture(t, f); again.Root != snap.Root || len(again.Changed)+len(again.Removed) != 0 {
				rt.Fatalf("Capture again: %v, was %v, changed %v, removed %v", again.Root, snap.Root, again.Changed, again.Removed)
			}
			if puts, _ := blobs.Counts(); puts != 0 {
				rt.Fatalf("Capture again put %d blobs", puts)
			}
			restore(t, g, snap.Root)
			wantSame(t, dir, elsewhere)
			if there := capture(t, g); there.Root != snap.Root {
				rt.Fatalf("Capture of what was restored: %v, want %v", there.Root, snap.Root)
			}
			roots = append(roots, snap.Root)
		}
		// Back to any of them, over what programs did to the copy.
		for range rapid.IntRange(0, 4).Draw(rt, "later changes") {
			change(rt, elsewhere)
		}
		for _, root := range roots {
			restore(t, g, root)
			restore(t, f, root)
			wantSame(t, dir, elsewhere)
			if there := capture(t, g); there.Root != root {
				rt.Fatalf("Capture of what was restored: %v, want %v", there.Root, root)
			}
		}
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(elsewhere)); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestCaptureSaysWhatChanged(t *testing.T) {
	x := newFixture(t)
	write(t, filepath.Join(x.dir, "keep"), []byte("keep"))
	write(t, filepath.Join(x.dir, "edit"), []byte("edit"))
	write(t, filepath.Join(x.dir, "old", "below"), []byte("below"))
	first := capture(t, x.folder)
	if first.Files != 3 || first.Bytes != 13 {
		t.Errorf("%d files of %d bytes, want 3 of 13", first.Files, first.Bytes)
	}
	write(t, filepath.Join(x.dir, "edit"), []byte("edited"))
	write(t, filepath.Join(x.dir, "new", "below"), bytes.Repeat([]byte("x"), 10))
	if err := os.RemoveAll(filepath.Join(x.dir, "old")); err != nil {
		t.Fatal(err)
	}
	snap := capture(t, x.folder)
	var changed []string
	for _, e := range snap.Changed {
		changed = append(changed, e.Path)
	}
	if diff := cmp.Diff([]string{"edit", "new", "new/below"}, changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"old", "old/below"}, snap.Removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if snap.Files != 3 || snap.Bytes != 20 {
		t.Errorf("%d files of %d bytes, want 3 of 20", snap.Files, snap.Bytes)
	}
}
