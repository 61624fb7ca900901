package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/snapshot"
)

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
	must(tb, os.Symlink("dir1/file1", filepath.Join(dir, "link")))
}

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
