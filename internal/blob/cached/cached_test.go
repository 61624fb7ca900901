package cached_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/blob/cached"
)

func open(t *testing.T, remote blob.Store, dir string, size int64) *cached.Store {
	t.Helper()
	s, err := cached.New(remote, dir, size)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCached(t *testing.T) {
	for name, size := range map[string]int64{"Large": 1 << 30, "Small": 10000, "None": 0} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, blobtest.NewMemory(), t.TempDir(), size) })
		})
	}
}

func get(t *testing.T, s blob.Store, b blob.Blob) {
	t.Helper()
	got, err := s.Get(t.Context(), "p", b.Name, nil)
	if err != nil || !bytes.Equal(got, b.Data) {
		t.Fatalf("Get: %d bytes, %v, want %d", len(got), err, len(b.Data))
	}
}

// wantRemote says how many blobs the other store was asked for.
func wantRemote(t *testing.T, remote *blobtest.Memory, want int) {
	t.Helper()
	if _, gets := remote.Counts(); gets != want {
		t.Errorf("the other store was asked for %d blobs, want %d", gets, want)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func size(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, path := range files(t, dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

func TestReadsTheCopy(t *testing.T) {
	remote, dir := blobtest.NewMemory(), t.TempDir()
	s := open(t, remote, dir, 1<<20)
	b := blobtest.Make([]byte("hello"))
	if err := s.Put(t.Context(), "p", []blob.Blob{b}); err != nil {
		t.Fatal(err)
	}
	get(t, s, b)
	wantRemote(t, remote, 0)
	get(t, open(t, remote, dir, 1<<20), b) // over a restart
	wantRemote(t, remote, 0)

	other := blobtest.Make([]byte("put by another node"))
	if err := remote.Put(t.Context(), "p", []blob.Blob{other}); err != nil {
		t.Fatal(err)
	}
	get(t, s, other)
	get(t, s, other)
	wantRemote(t, remote, 1)
}

func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(string) error{
		"Changed": func(path string) error { return os.WriteFile(path, []byte("jello"), 0o600) },
		"Cut":     func(path string) error { return os.Truncate(path, 0) },
		"Deleted": os.Remove,
		"Folder": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			remote, dir := blobtest.NewMemory(), t.TempDir()
			s := open(t, remote, dir, 1<<20)
			b := blobtest.Make([]byte("hello"))
			if err := s.Put(t.Context(), "p", []blob.Blob{b}); err != nil {
				t.Fatal(err)
			}
			if err := damage(files(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
			get(t, s, b)
			wantRemote(t, remote, 1)
			get(t, s, b)
			wantRemote(t, remote, 0)
		})
	}
}

func TestBounded(t *testing.T) {
	remote, dir := blobtest.NewMemory(), t.TempDir()
	s := open(t, remote, dir, 3000)
	var blobs []blob.Blob
	for i := range 4 {
		b := blobtest.Make(bytes.Repeat([]byte{byte(i)}, 1000))
		blobs = append(blobs, b)
		if i == 3 {
			get(t, s, blobs[0]) // so that the second is the one longest not used
		}
		if err := s.Put(t.Context(), "p", []blob.Blob{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := size(t, dir); got != 3000 {
		t.Errorf("the folder has %d bytes, want 3000", got)
	}
	get(t, s, blobs[0])
	get(t, s, blobs[2])
	get(t, s, blobs[3])
	wantRemote(t, remote, 0)
	get(t, s, blobs[1])
	wantRemote(t, remote, 1)

	open(t, remote, dir, 1500)
	if got := size(t, dir); got != 1000 {
		t.Errorf("the folder has %d bytes after it was opened with room for 1500, want 1000", got)
	}
}

// TestNeverTheOnlyCopy: what the other store did not take is not kept.
func TestNeverTheOnlyCopy(t *testing.T) {
	remote, dir := blobtest.NewMemory(), t.TempDir()
	s := open(t, remote, dir, 1<<20)
	full := errors.New("full")
	remote.Fail(func(string) error { return full })
	b := blobtest.Make([]byte("hello"))
	if err := s.Put(t.Context(), "p", []blob.Blob{b}); !errors.Is(err, full) {
		t.Errorf("Put: %v, want the error of the other store", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("the folder has %q, want nothing", got)
	}
}
