package snapshot_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/snapshot"
)

// TestKilledRestore ends Restore at every blob that it asks for, and looks that
// the next one comes to the same end.
func TestKilledRestore(t *testing.T) {
	x := newFixture(t)
	some(t, x.dir)
	root := capture(t, x.folder).Root
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	killed := errors.New("killed")
	for point := 0; ; point++ {
		must(t, os.RemoveAll(elsewhere))
		write(t, filepath.Join(elsewhere, "dir0"), []byte("a file where a folder is to be"))
		write(t, filepath.Join(elsewhere, "dir2", "file2"), []byte("another"))
		write(t, filepath.Join(elsewhere, "more", "file"), []byte("more"))
		f := openFolder(t, x.tree, elsewhere)
		left := point
		x.blobs.Fail(func(string) error {
			left--
			if left < 0 {
				return killed
			}
			return nil
		})
		err := f.Restore(t.Context(), root)
		x.blobs.Fail(nil)
		if err == nil {
			if point < 10 {
				t.Errorf("there were only %d points", point)
			}
			return
		}
		if !errors.Is(err, killed) {
			t.Fatalf("Restore: %v", err)
		}
		if _, err := f.Capture(t.Context()); !errors.Is(err, snapshot.ErrUnsettled) {
			t.Fatalf("Capture of half a restore: %v", err)
		}
		if point%2 == 0 {
			f = openFolder(t, x.tree, elsewhere) // as after a restart
			if _, err := f.Capture(t.Context()); !errors.Is(err, snapshot.ErrUnsettled) {
				t.Fatalf("Capture of half a restore after a restart: %v", err)
			}
		}
		restore(t, f, root)
		wantSame(t, x.dir, elsewhere)
		if snap := capture(t, f); snap.Root != root {
			t.Fatalf("Capture: %v, want %v", snap.Root, root)
		}
	}
}

// TestKilledCapture fails Capture at every blob that it puts. What a failed one
// has put is not relied on: the store may have lost it.
func TestKilledCapture(t *testing.T) {
	killed := errors.New("killed")
	for point := 0; ; point++ {
		x := newFixture(t)
		some(t, x.dir)
		left := point
		x.blobs.Fail(func(string) error {
			left--
			if left < 0 {
				return killed
			}
			return nil
		})
		_, err := x.folder.Capture(t.Context())
		x.blobs.Fail(nil)
		if err == nil {
			if point < 20 {
				t.Errorf("there were only %d points", point)
			}
			return
		}
		if !errors.Is(err, killed) {
			t.Fatalf("Capture: %v", err)
		}
		for _, name := range x.blobs.Names(project) {
			x.blobs.Remove(project, name)
		}
		snap := capture(t, x.folder)
		elsewhere := filepath.Join(t.TempDir(), "elsewhere")
		restore(t, openFolder(t, x.tree, elsewhere), snap.Root)
		wantSame(t, x.dir, elsewhere)
	}
}

// TestCaptureUnderWrites captures while a program writes, renames and deletes.
func TestCaptureUnderWrites(t *testing.T) {
	x := newFixture(t)
	some(t, x.dir)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		at := func(path string) string { return filepath.Join(x.dir, path) }
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Errors are those of a program that races with itself.
			_ = os.WriteFile(at("dir0/file0"), bytes.Repeat([]byte("x"), i%5000), 0o644)
			_ = os.Rename(at("dir1"), at("moved"))
			_ = os.Rename(at("moved"), at("dir1"))
			_ = os.Remove(at("dir2/file2"))
			_ = os.Symlink("/etc/passwd", at("dir2/file2"))
			_ = os.Remove(at("dir2/file2"))
			_ = os.MkdirAll(at("dir2/file2/below"), 0o755)
			_ = os.RemoveAll(at("dir2/file2"))
			_ = os.WriteFile(at("dir2/file2"), []byte("again"), 0o644)
		}
	}()
	for range 50 {
		capture(t, x.folder)
	}
	close(stop)
	<-done
	snap := capture(t, x.folder)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	restore(t, openFolder(t, x.tree, elsewhere), snap.Root)
	wantSame(t, x.dir, elsewhere)
}

// TestSameSizeSameTime: what a stat does not show is seen all the same.
func TestSameSizeSameTime(t *testing.T) {
	x := newFixture(t)
	path := filepath.Join(x.dir, "file")
	old := time.Unix(1_700_000_000, 0)
	write(t, path, []byte("one"))
	must(t, os.Chtimes(path, old, old))
	first := capture(t, x.folder)
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // the same inode
	must(t, err)
	_, err = f.WriteAt([]byte("two"), 0)
	must(t, errors.Join(err, f.Close()))
	must(t, os.Chtimes(path, old, old))
	if snap := capture(t, x.folder); snap.Root == first.Root || len(snap.Changed) != 1 {
		t.Errorf("the change was not seen: %+v", snap)
	}
}

func TestIndex(t *testing.T) {
	x := newFixture(t)
	some(t, x.dir)
	root := capture(t, x.folder).Root
	<-time.After(60 * time.Millisecond)
	capture(t, x.folder)
	index := x.dir + ".index"
	good, err := os.ReadFile(index)
	must(t, err)

	// With the index nothing is put again, and nothing is read from the store.
	x.blobs.Counts()
	f := openFolder(t, x.tree, x.dir)
	restore(t, f, root)
	if snap := capture(t, f); snap.Root != root {
		t.Errorf("Capture with the index: %v, want %v", snap.Root, root)
	}
	if puts, gets := x.blobs.Counts(); puts != 0 || gets > 1 {
		t.Errorf("with the index %d blobs were put and %d read", puts, gets)
	}

	damaged := func(i int) []byte { b := bytes.Clone(good); b[i] ^= 1; return b }
	for name, data := range map[string][]byte{
		"empty": {}, "head": damaged(0), "middle": damaged(len(good) / 2), "sum": damaged(len(good) - 1), "cut": good[:len(good)-40],
	} {
		must(t, os.WriteFile(index, data, 0o600))
		f := openFolder(t, x.tree, x.dir)
		if snap := capture(t, f); snap.Root != root {
			t.Errorf("%s: Capture: %v, want %v", name, snap.Root, root)
		}
	}
	// Of another project nothing is taken over: its blobs are not those of this.
	must(t, os.WriteFile(index, good, 0o600))
	other := snapshot.New(x.blobs, "other")
	if snap := capture(t, openFolder(t, other, x.dir)); snap.Root != root {
		t.Errorf("Capture for another project: %v, want %v", snap.Root, root)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	restore(t, openFolder(t, other, elsewhere), root)
	wantSame(t, x.dir, elsewhere)

	if _, err := snapshot.OpenFolder(x.tree, x.dir, filepath.Join(x.dir, "index")); err == nil {
		t.Error("an index inside of the folder was not refused")
	}
}

// TestNewReferencesArePut: what the store may have, but the last snapshot does
// not name, is put, since it may be about to be swept.
func TestNewReferencesArePut(t *testing.T) {
	x := newFixture(t)
	write(t, filepath.Join(x.dir, "file"), random(5000, 1))
	capture(t, x.folder)
	must(t, os.Remove(filepath.Join(x.dir, "file")))
	capture(t, x.folder)
	for _, name := range x.blobs.Names(project) {
		x.blobs.Remove(project, name)
	}
	write(t, filepath.Join(x.dir, "file"), random(5000, 1))
	info, err := x.tree.Lookup(t.Context(), capture(t, x.folder).Root, "file")
	if err != nil || info.Size != 5000 {
		t.Errorf("Lookup: %+v, %v", info, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	restore(t, openFolder(t, x.tree, elsewhere), capture(t, x.folder).Root)
	wantSame(t, x.dir, elsewhere)
}

// TestLargeFileChanged puts of a large file only what is new in it, and Restore
// reads only what is not there.
func TestLargeFileChanged(t *testing.T) {
	x := newFixture(t)
	content := random(40<<20, 1)
	write(t, filepath.Join(x.dir, "large"), content)
	first := capture(t, x.folder)
	x.blobs.Counts()
	content[20<<20]++
	write(t, filepath.Join(x.dir, "large"), content)
	capture(t, x.folder)
	if puts, _ := x.blobs.Counts(); puts > 5 {
		t.Errorf("%d blobs were put for one byte", puts)
	}
	restore(t, x.folder, first.Root)
	if _, gets := x.blobs.Counts(); gets > 8 {
		t.Errorf("%d blobs were read for one byte", gets)
	}
	if snap := capture(t, x.folder); snap.Root != first.Root {
		t.Errorf("Capture: %v, want %v", snap.Root, first.Root)
	}
}

func TestTooLarge(t *testing.T) {
	x := newFixture(t)
	dir := x.dir
	for range snapshot.MaxDepth + 1 {
		dir = filepath.Join(dir, "d")
	}
	must(t, os.MkdirAll(dir, 0o755))
	if _, err := x.folder.Capture(t.Context()); !errors.Is(err, snapshot.ErrTooLarge) {
		t.Errorf("Capture of %d folders in each other: %v", snapshot.MaxDepth+1, err)
	}
	must(t, os.Remove(dir))
	root := capture(t, x.folder).Root
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	restore(t, openFolder(t, x.tree, elsewhere), root)
	wantSame(t, x.dir, elsewhere)
}
