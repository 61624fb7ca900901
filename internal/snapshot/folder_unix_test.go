//go:build unix

package snapshot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/snapshot"
)

// TestRestoreFollowsNothing: whatever an agent put in place of files and folders,
// nothing outside is written, deleted or read.
func TestRestoreFollowsNothing(t *testing.T) {
	x := newFixture(t)
	some(t, x.dir)
	root := capture(t, x.folder).Root
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, filepath.Join(outside, "file1"), []byte("precious"))
	write(t, filepath.Join(outside, "other"), []byte("precious too"))
	must(t, os.Chmod(filepath.Join(outside, "file1"), 0o600))
	before := look(t, outside)
	at := func(path string) string { return filepath.Join(x.dir, path) }
	for name, attack := range map[string]func(){
		"folder": func() { must(t, os.RemoveAll(at("dir1"))); must(t, os.Symlink(outside, at("dir1"))) },
		"file": func() {
			must(t, os.Remove(at("dir1/file1")))
			must(t, os.Symlink(filepath.Join(outside, "file1"), at("dir1/file1")))
		},
		"new name": func() { must(t, os.Symlink(outside, at("more"))) },
		"dangling": func() {
			must(t, os.Remove(at("large")))
			must(t, os.Symlink(filepath.Join(outside, "new"), at("large")))
		},
		"hard link": func() {
			must(t, os.Remove(at("dir1/file1")))
			must(t, os.Link(filepath.Join(outside, "file1"), at("dir1/file1")))
		},
		"fifo": func() { must(t, os.Remove(at("dir1/file1"))); must(t, unix.Mkfifo(at("dir1/file1"), 0o600)) },
		"in a removed folder": func() {
			must(t, os.Mkdir(at("gone"), 0o755))
			must(t, os.Symlink(outside, at("gone/link")))
		},
	} {
		for _, f := range []*snapshot.Folder{x.folder, openFolder(t, x.tree, x.dir)} {
			attack()
			restore(t, f, root)
			if diff := cmp.Diff(before, look(t, outside)); diff != "" {
				t.Fatalf("%s: what is outside changed:\n%s", name, diff)
			}
			if again := capture(t, f); again.Root != root {
				t.Errorf("%s: Capture after Restore: %v, want %v", name, again.Root, root)
			}
		}
	}
}

func TestCaptureFollowsNothing(t *testing.T) {
	x := newFixture(t)
	must(t, os.Symlink("/etc", filepath.Join(x.dir, "etc")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(x.dir, "passwd")))
	snap := capture(t, x.folder)
	if snap.Files != 2 || snap.Bytes != 0 {
		t.Errorf("%d files of %d bytes, want 2 links", snap.Files, snap.Bytes)
	}
	e, err := x.tree.Lookup(t.Context(), snap.Root, "etc")
	if err != nil || e.Kind != snapshot.Link || e.Target != "/etc" {
		t.Errorf("Lookup: %+v, %v", e, err)
	}
	if _, err := x.tree.Lookup(t.Context(), snap.Root, "etc/passwd"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup behind a link: %v", err)
	}

	// The folder itself is not to be a link either.
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(x.dir, link))
	f := openFolder(t, x.tree, link)
	if _, err := f.Capture(t.Context()); err == nil {
		t.Error("Capture of a link to a folder did not fail")
	}
	if err := f.Restore(t.Context(), snapshot.Root{}); err == nil {
		t.Error("Restore of a link to a folder did not fail")
	}
	if got := len(look(t, x.dir)); got != 2 {
		t.Errorf("%d links are left of 2", got)
	}
}

func TestSpecialFiles(t *testing.T) {
	x := newFixture(t)
	for i := range 25 {
		must(t, unix.Mkfifo(filepath.Join(x.dir, fmt.Sprintf("pipe %02d", i)), 0o600))
	}
	write(t, filepath.Join(x.dir, "file"), []byte("file"))
	must(t, os.Chmod(filepath.Join(x.dir, "file"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	snap := capture(t, x.folder)
	if snap.SkippedCount != 25 || len(snap.Skipped) != 20 || snap.Skipped[0] != "pipe 00" || snap.Files != 1 {
		t.Errorf("%d files, skipped %d: %q", snap.Files, snap.SkippedCount, snap.Skipped)
	}
	restore(t, x.folder, snap.Root)
	if got := look(t, x.dir); len(got) != 1 || !strings.HasPrefix(got["file"], "-rwxr-xr-x ") {
		t.Errorf("after Restore: %v", got)
	}
}

// TestSparse restores a file of 64 MiB with a megabyte in it.
func TestSparse(t *testing.T) {
	x := newFixture(t)
	f, err := os.Create(filepath.Join(x.dir, "sparse"))
	must(t, err)
	must(t, f.Truncate(64<<20))
	_, err = f.WriteAt(random(1<<20, 1), 30<<20)
	must(t, err)
	must(t, f.Close())
	root := capture(t, x.folder).Root
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	restore(t, openFolder(t, x.tree, elsewhere), root)
	wantSame(t, x.dir, elsewhere)
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(elsewhere, "sparse"), &st))
	if st.Size != 64<<20 || st.Blocks*512 > 8<<20 {
		t.Errorf("a file of %d bytes takes %d on the disk", st.Size, st.Blocks*512)
	}
}

// TestRestoreDeletesDeepFolders: an agent may have gone deeper than there are
// file descriptors, and than a path may be long.
func TestRestoreDeletesDeepFolders(t *testing.T) {
	x := newFixture(t)
	fd, err := unix.Open(x.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range 3000 {
		must(t, unix.Mkdirat(fd, "deep", 0o755))
		next, err := unix.Openat(fd, "deep", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
	restore(t, x.folder, snapshot.Root{})
	if entries, err := os.ReadDir(x.dir); err != nil || len(entries) != 0 {
		t.Errorf("after Restore: %v, %v", entries, err)
	}
}

// TestLinkedFilesComeApart: a name that shares its inode with one of other
// content does not change with it.
func TestLinkedFilesComeApart(t *testing.T) {
	x := newFixture(t)
	a, b := filepath.Join(x.dir, "a"), filepath.Join(x.dir, "b")
	write(t, a, []byte("one"))
	write(t, b, []byte("two"))
	root := capture(t, x.folder).Root
	before := look(t, x.dir)
	must(t, os.Remove(b))
	must(t, os.Link(a, b))
	restore(t, x.folder, root)
	if diff := cmp.Diff(before, look(t, x.dir)); diff != "" {
		t.Errorf("after Restore:\n%s", diff)
	}
	info, err := os.Stat(a)
	must(t, err)
	if n := info.Sys().(*syscall.Stat_t).Nlink; n != 1 {
		t.Errorf("%d names of one inode", n)
	}
}

// TestPermissions keeps those of folders in which their owner may do nothing.
func TestPermissions(t *testing.T) {
	x := newFixture(t)
	write(t, filepath.Join(x.dir, "closed", "below", "file"), []byte("x"))
	write(t, filepath.Join(x.dir, "secret"), []byte("secret"))
	must(t, os.Chmod(filepath.Join(x.dir, "secret"), 0))
	must(t, os.Chmod(filepath.Join(x.dir, "closed", "below"), 0o555))
	must(t, os.Chmod(filepath.Join(x.dir, "closed"), 0))
	snap := capture(t, x.folder)
	if snap.Files != 2 || snap.SkippedCount != 0 {
		t.Fatalf("%d files, skipped %q", snap.Files, snap.Skipped)
	}
	modes := func(dir string) (list [2]fs.FileMode) {
		for i, name := range []string{"closed", "secret"} {
			info, err := os.Lstat(filepath.Join(dir, name))
			must(t, err)
			list[i] = info.Mode()
		}
		return list
	}
	want := [2]fs.FileMode{fs.ModeDir, 0}
	if got := modes(x.dir); got != want {
		t.Errorf("after Capture: %v, want %v", got, want)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	f := openFolder(t, x.tree, elsewhere)
	restore(t, f, snap.Root)
	restore(t, f, snap.Root)
	if got := modes(elsewhere); got != want {
		t.Errorf("after Restore: %v, want %v", got, want)
	}
	if again := capture(t, f); again.Root != snap.Root {
		t.Errorf("Capture of what was restored: %v, want %v", again.Root, snap.Root)
	}
	restore(t, f, snapshot.Root{})
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) != 0 {
		t.Errorf("after Restore of nothing: %v, %v", entries, err)
	}
	restore(t, x.folder, snapshot.Root{}) // so that the test can be cleaned up
}
