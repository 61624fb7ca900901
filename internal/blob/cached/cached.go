// Package cached keeps copies of blobs that were used on the machine, in a
// folder of bounded size in front of another store. It owns the folder, alone
// among processes; whatever is in it may be lost, damaged or deleted at any
// time, since the other store has all of it.
package cached

import (
	"container/list"
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
	"slices"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/winname"
)

// noteAfter is how old the time of a file's last use, which outlives the process,
// may be.
const noteAfter = time.Minute

// Store is a blob.Store in front of another.
type Store struct {
	remote blob.Store
	dir    string
	max    int64

	mu    sync.Mutex
	files map[key]*list.Element // of *file
	used  *list.List            // the last used first
	bytes int64
}

type key struct {
	project string
	name    event.Hash
}

type file struct {
	key   key
	size  int64
	noted time.Time
}

var _ blob.Store = (*Store)(nil)

// New returns a store that keeps up to maxBytes of what remote has in a folder,
// which is made where it is not there, and taken over where it is.
func New(remote blob.Store, dir string, maxBytes int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the cache of blobs: %w", err)
	}
	s := &Store{remote: remote, dir: dir, max: maxBytes, files: map[key]*list.Element{}, used: list.New()}
	if err := s.takeOver(); err != nil {
		return nil, fmt.Errorf("open the cache of blobs: %w", err)
	}
	return s, nil
}

// takeOver finds the files of an earlier process.
func (s *Store) takeOver() error {
	var found []file
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		k, ok := s.keyOf(path)
		if !ok {
			return os.Remove(path) //nolint:gosec // a file that was not finished; the folder is the process's own
		}
		found = append(found, file{k, info.Size(), info.ModTime()})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b file) int { return a.noted.Compare(b.noted) })
	for i := range found {
		s.add(&found[i])
	}
	return nil
}

func (s *Store) path(k key) string {
	project := url.PathEscape(k.project)
	if runtime.GOOS == "windows" {
		project = winname.Escape(k.project)
	}
	return filepath.Join(s.dir, "p-"+project, k.name.String()[:2], k.name.String())
}

func (s *Store) keyOf(path string) (key, bool) {
	var k key
	n, err := hex.Decode(k.name[:], []byte(filepath.Base(path)[:min(64, len(filepath.Base(path)))]))
	if err != nil || n != len(k.name) {
		return k, false
	}
	folder := filepath.Base(filepath.Dir(filepath.Dir(path)))
	if len(folder) < 2 {
		return k, false
	}
	k.project, err = url.PathUnescape(folder[2:])
	return k, err == nil && s.path(k) == path
}

// Put puts the blobs to the other store, and keeps copies.
func (s *Store) Put(ctx context.Context, project string, blobs []blob.Blob) error {
	if err := s.remote.Put(ctx, project, blobs); err != nil {
		return err
	}
	for i := range blobs {
		s.keep(key{project, blobs[i].Name}, blobs[i].Data)
	}
	return nil
}

// Get reads the copy, or the other store.
func (s *Store) Get(ctx context.Context, project string, name event.Hash, buf []byte) ([]byte, error) {
	k := key{project, name}
	if s.use(k) {
		data, err := read(s.path(k), buf)
		if err == nil && blob.Name(data) == name {
			return data, nil
		}
		s.drop(k)
	}
	data, err := s.remote.Get(ctx, project, name, buf)
	if err == nil {
		s.keep(k, data)
	}
	return data, err
}

// read reads a file into the memory of buf, where there is enough.
func read(path string, buf []byte) (data []byte, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > blob.MaxSize {
		return nil, errors.New("it is larger than a blob")
	}
	data = slices.Grow(buf[:0], int(info.Size()))[:info.Size()]
	_, err = io.ReadFull(f, data)
	return data, err
}

// use reports whether there is a copy, and counts it as used.
func (s *Store) use(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.files[k]
	if !ok {
		return false
	}
	s.used.MoveToFront(e)
	f := e.Value.(*file) //nolint:forcetypeassert // nothing else is put in
	if now := time.Now(); now.Sub(f.noted) > noteAfter {
		f.noted = now
		_ = os.Chtimes(s.path(k), now, now) // only the order after a restart hangs on it
	}
	return true
}

// keep writes a copy. That there is none is no error: the disk may be full, and
// the other store has the blob.
func (s *Store) keep(k key, data []byte) {
	if int64(len(data)) > s.max || s.use(k) {
		return
	}
	path := s.path(k)
	if err := write(path, data); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(&file{k, int64(len(data)), time.Now()})
}

func write(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.CreateTemp(filepath.Dir(path), "new-")
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// add counts a file as the last used, and deletes those that have no room beside
// it. The caller holds the lock, or is alone.
func (s *Store) add(f *file) {
	if e, ok := s.files[f.key]; ok {
		s.used.MoveToFront(e)
		return
	}
	s.files[f.key] = s.used.PushFront(f)
	s.bytes += f.size
	for s.bytes > s.max {
		s.forget(s.used.Back())
	}
}

func (s *Store) forget(e *list.Element) {
	f := s.used.Remove(e).(*file) //nolint:forcetypeassert // nothing else is put in
	delete(s.files, f.key)
	s.bytes -= f.size
	_ = os.Remove(s.path(f.key)) // what stays is found at the next start
}

func (s *Store) drop(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.files[k]; ok {
		s.forget(e)
	}
}

// Projects lists those of the other store.
func (s *Store) Projects(ctx context.Context) ([]string, error) { return s.remote.Projects(ctx) }

// Sweep sweeps the other store, and drops the copies of what goes there.
func (s *Store) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	var unwanted []event.Hash
	n, err := s.remote.Sweep(ctx, project, before, func(h event.Hash) bool {
		if keep(h) {
			return true
		}
		unwanted = append(unwanted, h)
		return false
	})
	for _, h := range unwanted {
		s.drop(key{project, h})
	}
	return n, err
}

// Close closes the other store.
func (s *Store) Close() error { return s.remote.Close() }
