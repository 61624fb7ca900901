package fsync_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stayd/stayd/internal/fsync"
)

func TestFolder(t *testing.T) {
	if err := fsync.Folder(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := fsync.Folder(filepath.Join(t.TempDir(), "missing")); runtime.GOOS != "windows" && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
