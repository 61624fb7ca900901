// Package folder keeps blobs as files of a folder of one machine. It owns the
// layout of the folder, which several processes may use at once:
//
//	<dir>/p-<project>/<2 digits of the name>/<the other 62>
//	<dir>/p-<project>/new/...                     files that are being written
//
// The time of a file's modification is when the blob was last put.
package folder

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/pack"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/fsync"
	"github.com/stayd/stayd/internal/winname"
)

const (
	projectPrefix = "p-"
	newDir        = "new"
	// sweptSuffix is that of a file which Sweep has taken out of the way to look
	// at it once more.
	sweptSuffix = ".swept"
	// writers is the number of files that one Put writes at a time. It is over the
	// number of processors since they wait for the disk, which makes many files
	// durable as fast as one.
	writers = 16
	// durableAfter is how long after a Put its names are durable by all means.
	durableAfter = time.Minute
	// staleAfter is how long a file that is being written may take.
	staleAfter = time.Hour
)

// Store is a blob.Store in a folder.
type Store struct {
	dir   string
	codec *pack.Codec
}

var _ blob.Store = (*Store)(nil)

// Open opens the store in a folder, which is made where it is not there.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the blob folder: %w", err)
	}
	codec, err := pack.New()
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, codec: codec}, nil
}

// Close frees what the store holds.
func (s *Store) Close() error {
	s.codec.Close()
	return nil
}

func (s *Store) projectDir(project string) string {
	if runtime.GOOS == "windows" {
		return filepath.Join(s.dir, projectPrefix+winname.Escape(project))
	}
	return filepath.Join(s.dir, projectPrefix+url.PathEscape(project))
}

func (s *Store) path(project string, name event.Hash) string {
	h := name.String()
	return filepath.Join(s.projectDir(project), h[:2], h[2:])
}

// Put writes the blobs that are not there, makes them durable, and then the
// names by which they are found.
func (s *Store) Put(ctx context.Context, project string, blobs []blob.Blob) error {
	now := time.Now()
	temp := filepath.Join(s.projectDir(project), newDir)
	var missing []blob.Blob
	var folders [256]bool
	for i := range blobs {
		if len(blobs[i].Data) > blob.MaxSize {
			return fmt.Errorf("put blob %s: %d bytes are more than the %d that a blob may have", blobs[i].Name, len(blobs[i].Data), blob.MaxSize)
		}
		found, fresh, err := touch(s.path(project, blobs[i].Name), now)
		if err != nil {
			return fmt.Errorf("put blob %s: %w", blobs[i].Name, err)
		}
		if !found {
			missing = append(missing, blobs[i])
		}
		if !found || fresh {
			folders[blobs[i].Name[0]] = true
		}
	}
	if len(missing) > 0 {
		if err := s.makeFolders(project, &folders); err != nil {
			return err
		}
	}
	if err := each(ctx, missing, func(b blob.Blob) error {
		if err := s.write(temp, s.path(project, b.Name), s.codec.Pack(b.Data), now); err != nil {
			return fmt.Errorf("put blob %s: %w", b.Name, err)
		}
		return nil
	}); err != nil {
		return err
	}
	return s.syncFolders(ctx, project, &folders)
}

// touch makes a file that is there count as put now. One that is fresh may have
// a name that is not durable yet, since another Put is still at it.
//
// To be touched is to be there: a sweep that takes the file away before is
// noticed, and one that does so afterwards sees the new time.
func touch(path string, now time.Time) (found, fresh bool, err error) {
	info, err := os.Stat(path)
	if err == nil {
		err = os.Chtimes(path, now, now)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	return true, now.Sub(info.ModTime()) < durableAfter, nil
}

// makeFolders makes the folders that are not there yet and makes them durable.
func (s *Store) makeFolders(project string, folders *[256]bool) error {
	dir := s.projectDir(project)
	made := false
	names := []string{newDir}
	for i, want := range folders {
		if want {
			names = append(names, hex.EncodeToString([]byte{byte(i)}))
		}
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(path, 0o700); err == nil {
				err = fsync.Folder(s.dir)
			}
		}
		switch {
		case err == nil:
			made = true
		case !errors.Is(err, fs.ErrExist):
			return fmt.Errorf("make the folder of blobs: %w", err)
		}
	}
	if made {
		return fsync.Folder(dir)
	}
	return nil
}

func (s *Store) syncFolders(ctx context.Context, project string, folders *[256]bool) error {
	var paths []string
	for i, want := range folders {
		if want {
			paths = append(paths, filepath.Join(s.projectDir(project), hex.EncodeToString([]byte{byte(i)})))
		}
	}
	return each(ctx, paths, fsync.Folder)
}

// write makes a durable file and gives it its name, which is durable only when
// its folder is.
func (s *Store) write(temp, path string, data []byte, put time.Time) (err error) {
	f, err := os.CreateTemp(temp, "")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		// The clock of the file system is behind that of the process by some
		// milliseconds, and a sweep compares with the latter.
		err = os.Chtimes(f.Name(), put, put)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	err = os.Rename(f.Name(), path)
	if err != nil && runtime.GOOS == "windows" && os.Chtimes(path, put, put) == nil {
		// Windows replaces no file that somebody reads. The one that is there is as
		// good: its name says what is in it.
		return os.Remove(f.Name())
	}
	return err
}

// Get reads a blob and compares it with its name.
func (s *Store) Get(_ context.Context, project string, name event.Hash, buf []byte) ([]byte, error) {
	kept, err := s.read(s.path(project, name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("get blob %s: %w", name, blob.ErrNotFound)
		}
		return nil, fmt.Errorf("get blob %s: %w", name, err)
	}
	return s.codec.Unpack(name, kept, buf)
}

// read reads a file, also one that a sweep has taken out of the way and may put
// back.
func (s *Store) read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = os.ReadFile(path + sweptSuffix); !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	return os.ReadFile(path)
}

// Projects lists the projects that have a folder with blobs in it.
func (s *Store) Projects(context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list projects: %w", err)
	}
	var projects []string
	for _, e := range entries {
		escaped, ok := strings.CutPrefix(e.Name(), projectPrefix)
		if !ok {
			continue
		}
		project, err := url.PathUnescape(escaped)
		if err != nil {
			return nil, fmt.Errorf("list projects: the folder %q: %w", e.Name(), err)
		}
		some, err := s.hasBlobs(project)
		if err != nil {
			return nil, fmt.Errorf("list projects: %w", err)
		}
		if some {
			projects = append(projects, project)
		}
	}
	return projects, nil
}

func (s *Store) hasBlobs(project string) (bool, error) {
	for i := range 256 {
		f, err := os.Open(filepath.Join(s.projectDir(project), hex.EncodeToString([]byte{byte(i)})))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		some, err := f.Readdirnames(1)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return false, err
		}
		if len(some) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// each calls do for all of the list, some at a time.
func each[T any](ctx context.Context, list []T, do func(T) error) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for _, v := range list {
		if running.Err() != nil {
			break
		}
		g.Go(func() error { return do(v) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
