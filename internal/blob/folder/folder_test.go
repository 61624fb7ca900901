package folder_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/blob/folder"
	"github.com/stayd/stayd/internal/event"
)

func open(tb testing.TB, dir string) *folder.Store {
	tb.Helper()
	s, err := folder.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestFolder(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, filepath.Join(t.TempDir(), "new", "blobs")) })
}

func TestCorrupt(t *testing.T) {
	blobtest.RunCorrupt(t, func(t *testing.T) (blob.Store, func(string, event.Hash, []byte)) {
		dir := t.TempDir()
		return open(t, dir), func(project string, name event.Hash, kept []byte) {
			h := name.String()
			if err := os.WriteFile(filepath.Join(dir, "p-"+project, h[:2], h[2:]), kept, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAfterAKill: what a Put and a Sweep that were killed have left is finished,
// or put back.
func TestAfterAKill(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := blobtest.Make([]byte("hello"))
	if err := s.Put(t.Context(), "p", []blob.Blob{b}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	h := b.Name.String()
	path := filepath.Join(dir, "p-p", h[:2], h[2:])
	unfinished := filepath.Join(dir, "p-p", "new", "123")
	if err := os.Rename(path, path+".swept"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unfinished, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(unfinished, long, long); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	defer s.Close()
	if got, err := s.Get(t.Context(), "p", b.Name, nil); err != nil || string(got) != "hello" {
		t.Errorf("Get: %q, %v", got, err)
	}
	if n, err := s.Sweep(t.Context(), "p", long, func(event.Hash) bool { return false }); n != 0 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the blob was not put back: %v", err)
	}
	if _, err := os.Stat(unfinished); err == nil {
		t.Error("the unfinished file is still there")
	}
}

// BenchmarkPut1000 puts 1,000 small blobs at once.
func BenchmarkPut1000(b *testing.B) {
	s := open(b, b.TempDir())
	n := 0
	for b.Loop() {
		blobs := make([]blob.Blob, 1000)
		for i := range blobs {
			n++
			blobs[i] = blobtest.Make(fmt.Appendf(nil, "blob %d", n))
		}
		if err := s.Put(b.Context(), "p", blobs); err != nil {
			b.Fatal(err)
		}
	}
}
