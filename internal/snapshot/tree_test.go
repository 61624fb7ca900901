package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/snapshot"
)

func newTree() (*snapshot.Tree, *blobtest.Memory) {
	blobs := blobtest.NewMemory()
	t := snapshot.New(blobs, project)
	t.Now = func() time.Time { return time.Unix(1_800_000_000, 5).UTC() }
	return t, blobs
}

func writeTree(tb testing.TB, t *snapshot.Tree, root snapshot.Root, path, content string) snapshot.Root {
	tb.Helper()
	root, _, err := t.WriteFile(tb.Context(), root, path, strings.NewReader(content), 0o640)
	if err != nil {
		tb.Fatalf("WriteFile %q: %v", path, err)
	}
	return root
}

func random(n int, seed byte) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func paths(tb testing.TB, t *snapshot.Tree, root snapshot.Root, dir string) []string {
	tb.Helper()
	var list []string
	if err := t.Walk(tb.Context(), root, dir, func(e snapshot.Entry) error {
		list = append(list, e.Path)
		return nil
	}); err != nil {
		tb.Fatalf("Walk: %v", err)
	}
	return list
}

func TestEdit(t *testing.T) {
	tree, _ := newTree()
	ctx := t.Context()
	var root snapshot.Root
	for _, path := range []string{"b/c", "a-b", "a/x/y", "a/z", "\xff"} {
		root = writeTree(t, tree, root, path, "content of "+path)
	}
	want := []string{"a/x/y", "a/z", "a-b", "b/c", "\xff"}
	slices.SortFunc(want, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	if diff := cmp.Diff(want, paths(t, tree, root, "")); diff != "" {
		t.Errorf("Walk (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a/x/y", "a/z"}, paths(t, tree, root, "a")); diff != "" {
		t.Errorf("Walk of a folder (-want +got):\n%s", diff)
	}
	if files, size, err := tree.Size(ctx, root); files != 5 || size != 5*11+3+3+5+3+1 || err != nil {
		t.Errorf("Size: %d, %d, %v", files, size, err)
	}
	e, err := tree.Lookup(ctx, root, "a/x/y")
	if err != nil || e.Path != "a/x/y" || e.Kind != snapshot.File || e.Mode != 0o640 || e.Size != 16 || !e.ModTime.Equal(time.Unix(1_800_000_000, 5)) {
		t.Errorf("Lookup: %+v, %v", e, err)
	}
	list, err := tree.List(ctx, root, "a")
	if err != nil || len(list) != 2 || list[0].Path != "a/x" || !list[0].Mode.IsDir() || list[0].Size != 16 || list[1].Path != "a/z" {
		t.Errorf("List: %+v, %v", list, err)
	}

	without, err := tree.Remove(ctx, root, "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a-b", "b/c", "\xff"}, paths(t, tree, without, "")); diff != "" {
		t.Errorf("after Remove (-want +got):\n%s", diff)
	}
	// A tree is a function of what is in it, and not of how it came to be.
	again := writeTree(t, tree, writeTree(t, tree, without, "a/z", "content of a/z"), "a/x/y", "content of a/x/y")
	if again != root {
		t.Errorf("the same files have the name %v and %v", again, root)
	}
	for _, path := range []string{"b", "a-b", "\xff"} {
		if without, err = tree.Remove(ctx, without, path); err != nil {
			t.Fatal(err)
		}
	}
	if !without.IsZero() {
		t.Errorf("the empty tree has the name %v", without)
	}
}

func TestWriteFileRefuses(t *testing.T) {
	tree, blobs := newTree()
	root := writeTree(t, tree, snapshot.Root{}, "dir/file", "x")
	blobs.Counts()
	for path, want := range map[string]error{
		"dir":                              fs.ErrExist,
		"dir/file/below":                   fs.ErrExist,
		"":                                 fs.ErrInvalid,
		"/abs":                             fs.ErrInvalid,
		"a//b":                             fs.ErrInvalid,
		"a/../b":                           fs.ErrInvalid,
		"./a":                              fs.ErrInvalid,
		"a/":                               fs.ErrInvalid,
		"a\x00":                            fs.ErrInvalid,
		strings.Repeat("n", 256):           fs.ErrInvalid,
		strings.Repeat("d/", 100) + "file": snapshot.ErrTooLarge,
	} {
		read := false
		r := readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF })
		if _, _, err := tree.WriteFile(t.Context(), root, path, r, 0o644); !errors.Is(err, want) || read {
			t.Errorf("WriteFile %q: %v (content read: %v), want %v", path, err, read, want)
		}
	}
	if puts, _ := blobs.Counts(); puts != 0 {
		t.Errorf("what was refused put %d blobs", puts)
	}
	broken := errors.New("broken")
	if _, _, err := tree.WriteFile(t.Context(), root, "new", iotest.ErrReader(broken), 0o644); !errors.Is(err, broken) {
		t.Errorf("WriteFile of a broken reader: %v", err)
	}
	blobs.Fail(func(string) error { return broken })
	if _, _, err := tree.WriteFile(t.Context(), snapshot.Root{}, "new", bytes.NewReader(random(5<<20, 1)), 0o644); !errors.Is(err, broken) {
		t.Errorf("WriteFile to a broken store: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestLookupMissing(t *testing.T) {
	tree, blobs := newTree()
	root := writeTree(t, tree, snapshot.Root{}, "dir/file", "x")
	for _, path := range []string{"a", "dir/x", "dir/file/x", "x/y"} {
		if _, err := tree.Lookup(t.Context(), root, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup %q: %v, want ErrNotExist", path, err)
		}
		if _, err := tree.Remove(t.Context(), root, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Remove %q: %v, want ErrNotExist", path, err)
		}
	}
	if _, _, err := tree.Open(t.Context(), root, "dir"); err == nil {
		t.Error("Open of a folder did not fail")
	}
	if err := tree.Walk(t.Context(), root, "dir/file", func(snapshot.Entry) error { return nil }); err == nil {
		t.Error("Walk of a file did not fail")
	}
	// A blob that was lost is not a file that is not there.
	blobs.Remove(project, root)
	if _, err := tree.Lookup(t.Context(), root, "dir/file"); !errors.Is(err, blob.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup in a lost tree: %v", err)
	}
}

// TestContent stores content of sizes at which it is kept in another way.
func TestContent(t *testing.T) {
	tree, _ := newTree()
	contents := [][]byte{
		nil, []byte("x"), random(256<<10, 1), random(256<<10+1, 1), random(3<<20, 2), random(40<<20, 3), make([]byte, 3<<20),
		[]byte("\xffstayd\x01d\x81"), []byte("\xffstayd\x00r"), append([]byte("\xffstayd\x01l"), random(1<<20, 4)...),
	}
	for _, content := range contents {
		root, size, err := tree.StoreFile(t.Context(), bytes.NewReader(content))
		if err != nil || size != int64(len(content)) {
			t.Fatalf("StoreFile of %d bytes: %d, %v", len(content), size, err)
		}
		r, size, err := tree.OpenFile(t.Context(), root)
		if err != nil || size != int64(len(content)) {
			t.Fatalf("OpenFile of %d bytes: %d, %v", len(content), size, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("content of %d bytes: %d bytes, %v", len(content), len(got), err)
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if len(content) < 4<<20 { // the test reads very small pieces
			if err := iotest.TestReader(r, content); err != nil {
				t.Errorf("content of %d bytes: %v", len(content), err)
			}
		}
		for _, off := range []int{len(content) / 3, len(content) - 1} {
			if off < 0 {
				continue
			}
			if _, err := r.Seek(int64(off), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[off:]) {
				t.Errorf("content of %d bytes from %d: %d bytes, %v", len(content), off, len(got), err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
	}
}

// TestSharedContent: a large file that is changed in one place shares the rest.
func TestSharedContent(t *testing.T) {
	tree, blobs := newTree()
	content := random(40<<20, 1)
	if _, _, err := tree.StoreFile(t.Context(), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	before := len(blobs.Names(project))
	changed := slices.Insert(slices.Clone(content), 20<<20, []byte("inserted")...)
	if _, _, err := tree.StoreFile(t.Context(), bytes.NewReader(changed)); err != nil {
		t.Fatal(err)
	}
	// One or two chunks, the list and the folder.
	if added := len(blobs.Names(project)) - before; before < 40 || added > 5 {
		t.Errorf("%d blobs, and %d more for 8 bytes that were inserted", before, added)
	}
}

// TestVeryLarge streams 5 GiB, of which all but the ends is zero.
func TestVeryLarge(t *testing.T) {
	tree, blobs := newTree()
	const size = 5 << 30
	head, tail := random(1<<20, 1), random(1<<20, 2)
	var base runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	root, e, err := tree.WriteFile(t.Context(), snapshot.Root{}, "large", io.MultiReader(
		bytes.NewReader(head), io.LimitReader(zeroReader{}, size-2<<20), bytes.NewReader(tail)), 0o644)
	if err != nil || e.Size != size {
		t.Fatalf("WriteFile: %d, %v", e.Size, err)
	}
	// The store holds little: equal chunks are one blob.
	if n := len(blobs.Names(project)); n > 100 {
		t.Errorf("%d blobs", n)
	}
	r, e, err := tree.Open(t.Context(), root, "large")
	if err != nil || e.Size != size {
		t.Fatalf("Open: %d, %v", e.Size, err)
	}
	end := make([]byte, 1<<20)
	if _, err := r.Seek(-1<<20, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, end); err != nil || !bytes.Equal(end, tail) {
		t.Errorf("the end differs: %v", err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != size || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(base.HeapSys); grown > 200<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDiff(t *testing.T) {
	tree, blobs := newTree()
	var a snapshot.Root
	for _, path := range []string{"same/1", "same/2", "dir/gone", "dir/stays", "edit", "kind/below"} {
		a = writeTree(t, tree, a, path, path)
	}
	b, err := tree.Remove(t.Context(), a, "dir/gone")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = tree.Remove(t.Context(), b, "kind"); err != nil {
		t.Fatal(err)
	}
	b = writeTree(t, tree, b, "edit", "edited")
	b = writeTree(t, tree, b, "kind", "a file")
	b = writeTree(t, tree, b, "new/dir/file", "new")
	same, err := tree.Lookup(t.Context(), a, "same")
	if err != nil {
		t.Fatal(err)
	}
	blobs.Remove(project, same.Root()) // to look into what is equal would fail
	changes, err := tree.Diff(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprint(c.Kind, " ", c.Path, " ", c.Before.Kind, "->", c.After.Kind))
	}
	want := []string{
		"removed dir/gone file->none", "changed edit file->file", "changed kind folder->file", "removed kind/below file->none",
		"added new none->folder", "added new/dir none->folder", "added new/dir/file none->file",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Diff (-want +got):\n%s", diff)
	}
	if changes, err := tree.Diff(t.Context(), a, a); err != nil || len(changes) != 0 {
		t.Errorf("Diff with itself: %v, %v", changes, err)
	}
}

// TestWideFolder: a folder with very many files lies in several blobs, of which
// one more file changes few.
func TestWideFolder(t *testing.T) {
	x := newFixture(t)
	const n = 3000
	for i := range n {
		write(t, x.dir+"/"+fmt.Sprintf("file %06d", i), []byte{byte(i)})
	}
	first := capture(t, x.folder)
	if first.Files != n {
		t.Fatalf("%d files", first.Files)
	}
	before := len(x.blobs.Names(project))
	root := writeTree(t, x.tree, first.Root, "file 001500x", "one more")
	if added := len(x.blobs.Names(project)) - before; added != 3 { // content, leaf, index
		t.Errorf("one more file added %d blobs", added)
	}
	if got := len(paths(t, x.tree, root, "")); got != n+1 {
		t.Errorf("%d files", got)
	}
	for _, path := range []string{"file 000000", "file 001500x", "file 002999"} {
		if _, err := x.tree.Lookup(t.Context(), root, path); err != nil {
			t.Errorf("Lookup %q: %v", path, err)
		}
	}
	for _, path := range []string{"a", "file 001500y", "z"} {
		if _, err := x.tree.Lookup(t.Context(), root, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup %q: %v", path, err)
		}
	}
	if files, size, err := x.tree.Size(t.Context(), root); files != n+1 || size != n+8 || err != nil {
		t.Errorf("Size: %d, %d, %v", files, size, err)
	}
	restore(t, x.folder, root)
	if again := capture(t, x.folder); again.Root != root || len(again.Changed) != 0 {
		t.Errorf("Capture: %v, want %v", again.Root, root)
	}
	if back := capture(t, openFolder(t, x.tree, x.dir)); back.Root != root {
		t.Errorf("Capture by another: %v, want %v", back.Root, root)
	}
}

func TestMarkAndCollect(t *testing.T) {
	tree, blobs := newTree()
	kept, _, err := tree.StoreFile(t.Context(), bytes.NewReader(random(40<<20, 1)))
	if err != nil {
		t.Fatal(err)
	}
	keptNames := blobs.Names(project)
	root := writeTree(t, tree, snapshot.Root{}, "a/b/c", "kept")
	root = writeTree(t, tree, root, "a/b/d", "kept too")
	garbage := writeTree(t, tree, root, "a/b/c", "garbage")
	marked := map[event.Hash]int{}
	if err := snapshot.Mark(t.Context(), blobs, project, []snapshot.Root{kept, {}, kept}, func(h event.Hash) bool {
		marked[h]++
		return marked[h] > 1
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range keptNames {
		if marked[name] == 0 {
			t.Errorf("blob %v of the file was not visited", name)
		}
		delete(marked, name)
	}
	if len(marked) != 0 {
		t.Errorf("%d blobs were visited that the file does not have", len(marked))
	}

	roots := func(context.Context, string) ([]event.Hash, error) { return []event.Hash{kept, root}, nil }
	if n, err := snapshot.Collect(t.Context(), blobs, roots, time.Hour); n != 0 || err != nil {
		t.Errorf("Collect within the grace: %d, %v", n, err)
	}
	n, err := snapshot.Collect(t.Context(), blobs, roots, 0)
	if err != nil || n == 0 {
		t.Errorf("Collect: %d, %v", n, err)
	}
	restore(t, openFolder(t, tree, t.TempDir()+"/kept"), root)
	if _, err := tree.Lookup(t.Context(), garbage, "a/b/c"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Lookup in what was collected: %v", err)
	}
	r, _, err := tree.OpenFile(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 40<<20 || err != nil {
		t.Errorf("read %d bytes of what was kept, %v", n, err)
	}

	// A tree that cannot be read keeps everything.
	blobs.Remove(project, root)
	before := len(blobs.Names(project))
	if n, err := snapshot.Collect(t.Context(), blobs, roots, 0); n != 0 || !errors.Is(err, blob.ErrNotFound) || len(blobs.Names(project)) != before {
		t.Errorf("Collect with a lost tree: %d, %v", n, err)
	}
}
