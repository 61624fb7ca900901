package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// openDir is an open folder of the machine, through which alone what is in it is
// reached: a program that swaps a folder for a link leads nowhere else. The last
// of its users closes it.
type openDir struct {
	handle
	refs atomic.Int32
	// mode is given to the folder when it is closed; -1 leaves it.
	mode int
}

// status is what the machine says of a name in a folder.
type status struct {
	fileStat
	kind  Kind   // 0: what is not kept
	mode  uint32 // the permissions, and the special bits above them
	dev   uint64
	links uint64
	owner uint32 // where there are owners
}

// openTop opens the folder at a path. Links above it are followed; it must not be
// one.
func openTop(path string, need uint32) (*openDir, error) {
	parent, name, err := openAbove(path)
	if err != nil {
		return nil, err
	}
	st, err := parent.stat(name)
	var d *openDir
	if err == nil {
		d, err = parent.open(name, &st, need)
	}
	if err = errors.Join(err, parent.release()); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return d, nil
}

func newOpenDir(h handle) *openDir {
	d := &openDir{handle: h, mode: -1}
	d.refs.Store(1)
	return d
}

// open opens a folder in d. One that its owner may not read or search, and in
// which nothing can be made for want of the bits in need, has them for as long
// as it is open.
func (d *openDir) open(name string, st *status, need uint32) (*openDir, error) {
	lacks := st.mode&need != need && os.Geteuid() != 0
	if lacks && int(st.owner) == os.Geteuid() {
		if err := d.chmod(name, st, st.mode|need); err != nil {
			return nil, err
		}
	} else {
		lacks = false
	}
	h, err := d.openDir(name)
	if err != nil {
		return nil, err
	}
	sub := newOpenDir(h)
	if lacks {
		sub.mode = int(st.mode)
	}
	return sub, nil
}

func (d *openDir) retain() *openDir {
	d.refs.Add(1)
	return d
}

// release ends one use.
func (d *openDir) release() error {
	if d.refs.Add(-1) > 0 {
		return nil
	}
	var err error
	if d.mode >= 0 {
		err = d.chmodSelf(uint32(d.mode))
	}
	return errors.Join(err, d.close())
}

// openFile opens a regular file for reading, whatever its name has come to mean
// in the meantime.
func (d *openDir) openFile(name string, st *status) (*os.File, status, error) {
	f, now, err := d.openRegular(name)
	if closed(err) && int(st.owner) == os.Geteuid() {
		// The owner of a file may read it after having been so kind as to say so.
		if err = d.chmod(name, st, st.mode|0o400); err == nil {
			f, now, err = d.openRegular(name)
		}
		if err != nil {
			return nil, now, err
		}
		if err = f.Chmod(fileMode(st.mode)); err == nil {
			now, err = statusOfFile(f)
		}
		if err != nil {
			return nil, now, errors.Join(err, f.Close())
		}
	}
	return f, now, err
}

// errChanged: what was there is something else by now.
var errChanged = errors.New("it was replaced while it was read")

// fileMode is the Go form of permissions and special bits.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & permBits)
	for bit, special := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= special
		}
	}
	return m
}

// remover deletes what is in folders, however deep it goes.
type remover struct {
	top     *openDir
	moved   int
	pending []string // names right below the top
}

// all deletes what has a name in d, and all that was moved up from it.
func (r *remover) all(d *openDir, name string) error {
	err := r.remove(d, name, 0)
	for err == nil && len(r.pending) > 0 {
		up := r.pending[len(r.pending)-1]
		r.pending = r.pending[:len(r.pending)-1]
		err = r.remove(r.top, up, 0)
	}
	return err
}

// deepest is the number of folders that are held open while what is in them is
// deleted. What lies deeper is moved up first.
const deepest = 64

// remove deletes what has a name in d, which is at a depth below the top.
func (r *remover) remove(d *openDir, name string, depth int) error {
	err := d.unlink(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	st, statErr := d.stat(name)
	if statErr != nil || st.kind != Dir {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	sub, err := d.open(name, &st, 0o700)
	if err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	sub.mode = -1
	err = r.empty(sub, depth+1)
	if err = errors.Join(err, sub.release()); err != nil {
		return err
	}
	if err := d.rmdir(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

func (r *remover) empty(d *openDir, depth int) error {
	names, err := d.names(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if depth < deepest {
			err = r.remove(d, name, depth)
		} else {
			err = r.moveUp(d, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveUp puts something that lies deep right below the top, and deletes it from
// there.
func (r *remover) moveUp(d *openDir, name string) error {
	err := d.unlink(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for {
		r.moved++
		up := fmt.Sprintf(".stayd-removed-%d", r.moved)
		if _, err := r.top.stat(up); !errors.Is(err, fs.ErrNotExist) {
			continue // somebody has this name
		}
		if err := d.move(name, r.top, up); err != nil {
			return fmt.Errorf("remove %q: %w", name, err)
		}
		r.pending = append(r.pending, up)
		return nil
	}
}
