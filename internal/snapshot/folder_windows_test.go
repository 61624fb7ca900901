package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stayd/stayd/internal/snapshot"
)

// TestFolderOnWindows changes a folder, goes back and forth, and reads only what
// changed.
func TestFolderOnWindows(t *testing.T) {
	x := newFixture(t)
	some(t, x.dir)
	must(t, os.MkdirAll(filepath.Join(x.dir, "empty"), 0o755))
	first := capture(t, x.folder)
	before := look(t, x.dir)
	must(t, os.Remove(filepath.Join(x.dir, "dir1", "file1")))
	must(t, os.RemoveAll(filepath.Join(x.dir, "dir2")))
	write(t, filepath.Join(x.dir, "dir2"), []byte("a file now"))
	write(t, filepath.Join(x.dir, "large"), random(3<<20, 98))
	must(t, os.Rename(filepath.Join(x.dir, "dir3"), filepath.Join(x.dir, "Dir3")))
	second := capture(t, x.folder)
	if second.Root == first.Root {
		t.Fatal("the change was not seen")
	}
	after := look(t, x.dir)
	for _, f := range []*snapshot.Folder{x.folder, openFolder(t, x.tree, x.dir)} {
		for range 2 {
			for _, s := range []struct {
				root snapshot.Root
				want map[string]string
			}{{first.Root, before}, {second.Root, after}} {
				restore(t, f, s.root)
				got := look(t, x.dir)
				for path, what := range s.want {
					if got[path] != what {
						t.Errorf("%s is %q, want %q", path, got[path], what)
					}
				}
				if len(got) != len(s.want) {
					t.Errorf("there are %d names, want %d", len(got), len(s.want))
				}
				if again := capture(t, f); again.Root != s.root || len(again.Changed) > 0 {
					t.Errorf("Capture after Restore: %+v", again)
				}
			}
		}
	}
}

// A file that its owner made read-only can be captured, replaced and removed.
func TestReadOnlyOnWindows(t *testing.T) {
	x := newFixture(t)
	path := filepath.Join(x.dir, "file")
	write(t, path, []byte("first"))
	must(t, os.Chmod(path, 0o444))
	first := capture(t, x.folder)
	must(t, os.Chmod(path, 0o644))
	write(t, path, []byte("second"))
	must(t, os.Chmod(path, 0o444))
	restore(t, x.folder, first.Root)
	if b, err := os.ReadFile(path); err != nil || string(b) != "first" {
		t.Errorf("%q, %v", b, err)
	}
	restore(t, x.folder, snapshot.Root{})
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
