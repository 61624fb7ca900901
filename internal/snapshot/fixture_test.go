package snapshot_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/snapshot"
)

const project = "proj"

// fixture is a folder, and the store that it is captured to.
type fixture struct {
	tb     testing.TB
	blobs  *blobtest.Memory
	tree   *snapshot.Tree
	dir    string
	folder *snapshot.Folder
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	blobs := blobtest.NewMemory()
	x := &fixture{tb: tb, blobs: blobs, tree: snapshot.New(blobs, project), dir: filepath.Join(tb.TempDir(), "workspace")}
	if err := os.Mkdir(x.dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	x.folder = openFolder(tb, x.tree, x.dir)
	return x
}

func openFolder(tb testing.TB, t *snapshot.Tree, dir string) *snapshot.Folder {
	tb.Helper()
	f, err := snapshot.OpenFolder(t, dir, dir+".index")
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func capture(tb testing.TB, f *snapshot.Folder) snapshot.Snapshot {
	tb.Helper()
	s, err := f.Capture(tb.Context())
	if err != nil {
		tb.Fatalf("Capture: %v", err)
	}
	return s
}

func restore(tb testing.TB, f *snapshot.Folder, root snapshot.Root) {
	tb.Helper()
	if err := f.Restore(tb.Context(), root); err != nil {
		tb.Fatalf("Restore: %v", err)
	}
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		tb.Fatal(err)
	}
}

// look describes what is in a folder of the machine by what the system says.
func look(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %d %x", info.ModTime().UnixNano(), blobtest.Make(data).Name)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what = "link " + target
		}
		out[path[len(dir)+1:]] = what
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func wantSame(tb testing.TB, a, b string) {
	tb.Helper()
	if diff := cmp.Diff(look(tb, a), look(tb, b)); diff != "" {
		tb.Fatalf("the folders differ (-first +second):\n%s", diff)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// some fills a folder.
func some(tb testing.TB, dir string) {
	tb.Helper()
	for i := range 20 {
		write(tb, filepath.Join(dir, fmt.Sprint("dir", i%4), fmt.Sprint("file", i)), random(100*i+1, byte(i)))
	}
	write(tb, filepath.Join(dir, "large"), random(3<<20, 99))
	if runtime.GOOS != "windows" { // where not every user may make one
		must(tb, os.Symlink("dir1/file1", filepath.Join(dir, "link")))
	}
}
