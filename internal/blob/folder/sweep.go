package folder

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// Sweep deletes blobs. A file is taken out of the way, looked at once more, and
// put back where it was put in the meantime, so that no lock is needed against a
// Put of this or of another process.
func (s *Store) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	swept := 0
	for i := range 256 {
		n, err := s.sweepFolder(ctx, filepath.Join(s.projectDir(project), hex.EncodeToString([]byte{byte(i)})), before, keep)
		swept += n
		if err != nil {
			return swept, fmt.Errorf("sweep blobs: %w", err)
		}
	}
	if err := s.sweepUnfinished(project); err != nil {
		return swept, fmt.Errorf("sweep unfinished blobs: %w", err)
	}
	return swept, nil
}

func (s *Store) sweepFolder(ctx context.Context, dir string, before time.Time, keep func(event.Hash) bool) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	swept := 0
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return swept, err
		}
		rest, halfSwept := strings.CutSuffix(e.Name(), sweptSuffix)
		path := filepath.Join(dir, rest)
		if halfSwept {
			// A sweep that died, or one of another process that is at this file.
			if err := putBack(path); err != nil {
				return swept, err
			}
		}
		var name event.Hash
		if n, err := hex.Decode(name[:], []byte(filepath.Base(dir)+rest)); err != nil || n != len(name) {
			continue
		}
		gone, err := sweepFile(path, before, func() bool { return keep(name) })
		if err != nil {
			return swept, err
		}
		if gone {
			swept++
		}
	}
	return swept, nil
}

func sweepFile(path string, before time.Time, keep func() bool) (bool, error) {
	old, err := putBefore(path, before)
	if err != nil || !old || keep() {
		return false, err
	}
	if err := os.Rename(path, path+sweptSuffix); err != nil {
		return false, ignoreMissing(err)
	}
	if old, err = putBefore(path+sweptSuffix, before); err != nil {
		return false, err
	}
	if !old {
		return false, putBack(path)
	}
	err = os.Remove(path + sweptSuffix)
	return err == nil, ignoreMissing(err)
}

// putBack gives a file that was taken out of the way its name again, unless
// there is another with that name by now.
func putBack(path string) error {
	if err := os.Link(path+sweptSuffix, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return ignoreMissing(err)
	}
	return ignoreMissing(os.Remove(path + sweptSuffix))
}

func putBefore(path string, t time.Time) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	return info.ModTime().Before(t), nil
}

// sweepUnfinished deletes what a Put that died has left.
func (s *Store) sweepUnfinished(project string) error {
	dir := filepath.Join(s.projectDir(project), newDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		old, err := putBefore(path, time.Now().Add(-staleAfter))
		if err == nil && old {
			err = ignoreMissing(os.Remove(path))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
