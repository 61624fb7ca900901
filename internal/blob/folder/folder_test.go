package folder_test

import (
	"os"
	"path/filepath"
	"testing"

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
