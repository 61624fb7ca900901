package snapshot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob/blobtest"
)

// onWindows is a folder that is kept as one on Windows is, on any system.
func onWindows(t *testing.T) (*Tree, *Folder) {
	t.Helper()
	tree := New(blobtest.NewMemory(), "proj")
	dir := filepath.Join(t.TempDir(), "workspace")
	f, err := OpenFolder(tree, dir, dir+".index")
	if err != nil {
		t.Fatal(err)
	}
	f.limit.windows = true
	return tree, f
}

func put(t *testing.T, tree *Tree, root Root, path string, mode os.FileMode) Root {
	t.Helper()
	root, _, err := tree.WriteFile(t.Context(), root, path, strings.NewReader("content of "+path), mode)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// What the folder cannot hold is in the tree after a Capture as it was before.
func TestWindowsKeepsWhatItCannotHold(t *testing.T) {
	tree, f := onWindows(t)
	tree.Now = func() time.Time { return time.Unix(1_700_000_000, 123_456_789) }
	root := put(t, tree, Root{}, "bin/run", 0o755)
	root = put(t, tree, root, "bin/changed", 0o751)
	root = put(t, tree, root, "secret", 0o600)
	if err := f.Restore(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if again, err := f.Capture(t.Context()); err != nil || again.Root != root || len(again.Changed) > 0 {
		t.Fatalf("Capture after Restore: %+v, %v", again, err)
	}
	// Whoever writes a file replaces it.
	for path, content := range map[string]string{"bin/changed": "other", "bin/new": "new"} {
		path = filepath.Join(f.dir, path)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(f.dir, "folder"), 0o777); err != nil {
		t.Fatal(err)
	}
	snap, err := f.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{
		"bin/run": 0o755, "bin/changed": 0o751, "bin/new": 0o644, "secret": 0o600, "folder": 0o755 | os.ModeDir, "bin": 0o755 | os.ModeDir,
	} {
		if e, err := tree.Lookup(t.Context(), snap.Root, path); err != nil || e.Mode != mode {
			t.Errorf("%s has the mode %v (%v), want %v", path, e.Mode, err, mode)
		}
	}
	// Times that differ by less than a step are the same.
	if err := os.Chtimes(filepath.Join(f.dir, "secret"), time.Time{}, time.Unix(1_700_000_000, 123_456_700)); err != nil {
		t.Fatal(err)
	}
	st, err := statusAt(t, f, "secret")
	if err != nil || !f.limit.sameTime(&st, tree.Now().UnixNano()) || f.limit.sameTime(&st, tree.Now().UnixNano()+100) {
		t.Errorf("times: %+v, %v", st, err)
	}
}

// A file that is replaced while it is read leaves nothing behind.
func TestWindowsReplaces(t *testing.T) {
	tree, f := onWindows(t)
	first := put(t, tree, Root{}, "a/file", 0o644)
	second, _, err := tree.WriteFile(t.Context(), Root{}, "a/file", strings.NewReader("other content"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		root Root
		want string
	}{{first, "content of a/file"}, {second, "other content"}, {first, "content of a/file"}} {
		if err := f.Restore(t.Context(), s.root); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(f.dir, "a", "file")); err != nil || string(b) != s.want {
			t.Errorf("%q, %v; want %q", b, err, s.want)
		}
		if names, err := os.ReadDir(filepath.Join(f.dir, "a")); err != nil || len(names) != 1 {
			t.Errorf("%v, %v; want the file alone", names, err)
		}
	}
}

func statusAt(t *testing.T, f *Folder, name string) (status, error) {
	t.Helper()
	top, err := openTop(f.dir, 0o500)
	if err != nil {
		return status{}, err
	}
	defer top.release()
	return top.stat(name)
}

func TestWindowsRefusesNames(t *testing.T) {
	for want, names := range map[string][]string{
		`"con.txt" can be no file's name on Windows`:       {"a", "sub/con.txt"},
		`"a:b" can be no file's name on Windows`:           {"a:b"},
		`"README" and "readme" are one name on Windows`:    {"README", "readme"},
		`"sub" and "SUB" are one name on Windows`:          {"sub/a", "SUB/b"},
		`ends in a dot or a space; choose another name`:    {"x."},
		`"a\\b" can be no file's name on Windows: it hold`: {`a\b`},
	} {
		tree, f := onWindows(t)
		var root Root
		for _, name := range names {
			root = put(t, tree, root, name, 0o644)
		}
		err := f.Restore(t.Context(), root)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `"SUB" and "sub"`, `"sub" and "SUB"`), want) {
			t.Errorf("%q: %v, want it to say %s", names, err, want)
		}
		f.limit.windows = false
		if _, err := f.Capture(t.Context()); err == nil {
			t.Errorf("%q: a folder that was not restored was captured", names)
		}
	}
}

func TestWindowsRefusesLinks(t *testing.T) {
	for target, ok := range map[string]bool{"a/b": true, "../a": true, "/workspace/a": true, `a\b`: false, "c:/x": false, "a:b": false, `\\host\share`: false} {
		err := limits{windows: true}.check([]entry{{name: "link", kind: Link, target: target}})
		if (err == nil) != ok {
			t.Errorf("a link to %q: %v", target, err)
		}
		if err != nil && !strings.Contains(err.Error(), `the link "link" leads to`) {
			t.Errorf("a link to %q: %v", target, err)
		}
	}
}
