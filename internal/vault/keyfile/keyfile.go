// Package keyfile has master keys of vaults in a file, or in a variable of the
// environment: a Tink keyset as JSON, whose primary key is the current one. A file
// that is changed while it is in use is read again.
package keyfile

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/stayd/stayd/internal/fsync"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// Generate returns a new set with one key, as it stands in a file.
func Generate() (string, error) {
	handle, err := keyset.NewHandle(aead.XChaCha20Poly1305KeyTemplate())
	if err != nil {
		return "", fmt.Errorf("make a master key: %w", err)
	}
	return write(handle)
}

func write(handle *keyset.Handle) (string, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return "", fmt.Errorf("encode the master keys: %w", err)
	}
	return b.String() + "\n", nil
}

// read decodes a set. The error has nothing of the text in it.
func read(text string) (*keyset.Handle, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(strings.NewReader(text)))
	if err != nil {
		return nil, errors.New("it is not a set of keys as `stayd vaults key` makes it")
	}
	return handle, nil
}

// ring is a set that was read.
type ring struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	current string
	ids     map[string]bool
}

func newRing(text string) (*ring, error) {
	handle, err := read(text)
	if err != nil {
		return nil, err
	}
	primary, err := handle.Primary()
	if err != nil {
		return nil, errors.New("none of its keys is the primary one")
	}
	r := &ring{handle: handle, current: name(primary.KeyID()), ids: map[string]bool{}}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("its key %d cannot be read", i+1)
		}
		r.ids[name(entry.KeyID())] = true
	}
	if r.aead, err = aead.New(handle); err != nil {
		return nil, errors.New("its keys are not for authenticated encryption")
	}
	return r, nil
}

// name is the id of a key as people see it.
func name(id uint32) string { return fmt.Sprintf("%08x", id) }

// Keys are master keys. They are a vault.Master.
type Keys struct {
	where string
	path  string // of the file; empty where there is none

	mu   sync.Mutex
	ring *ring
	seen fs.FileInfo // the file that the ring was read from
}

// FromText has the keys of a text, which came from where says in words.
func FromText(text, where string) (*Keys, error) {
	r, err := newRing(text)
	if err != nil {
		return nil, fmt.Errorf("the master keys of vaults in %s: %w", where, err)
	}
	return &Keys{where: where, ring: r}, nil
}

// Open has the keys of a file. Where it does not exist it is made, with one new
// key, if create is set.
func Open(path string, create bool) (*Keys, error) {
	k := &Keys{where: "the file " + path, path: path}
	_, err := k.now()
	if create && errors.Is(err, fs.ErrNotExist) {
		text, err := Generate()
		if err != nil {
			return nil, err
		}
		if err := put(path, text, false); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the file of master keys: %w", err)
		}
		_, err = k.now()
		return k, err
	}
	return k, err
}

// now is the ring of the file as it stands.
func (k *Keys) now() (*ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.path == "" {
		return k.ring, nil
	}
	info, err := os.Stat(k.path)
	if err != nil {
		return nil, fmt.Errorf("the master keys of vaults: %w", err)
	}
	if k.seen != nil && os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime()) && info.Size() == k.seen.Size() {
		return k.ring, nil
	}
	text, err := os.ReadFile(k.path)
	if err != nil {
		return nil, fmt.Errorf("the master keys of vaults: %w", err)
	}
	r, err := newRing(string(text))
	if err != nil {
		return nil, fmt.Errorf("the master keys of vaults in %s: %w", k.where, err)
	}
	k.ring, k.seen = r, info
	return r, nil
}

// Current is the id of the primary key.
func (k *Keys) Current(context.Context) (string, error) {
	r, err := k.now()
	if err != nil {
		return "", err
	}
	return r.current, nil
}

// Wrap encrypts with the primary key.
func (k *Keys) Wrap(_ context.Context, dataKey, associated []byte) (string, []byte, error) {
	r, err := k.now()
	if err != nil {
		return "", nil, err
	}
	wrapped, err := r.aead.Encrypt(dataKey, associated)
	return r.current, wrapped, err
}

// Unwrap decrypts with the key of that id.
func (k *Keys) Unwrap(_ context.Context, id string, wrapped, associated []byte) ([]byte, error) {
	r, err := k.now()
	if err != nil {
		return nil, err
	}
	if !r.ids[id] {
		return nil, &vault.NoKeyError{ID: id, Where: k.where}
	}
	plain, err := r.aead.Decrypt(wrapped, associated)
	if err != nil {
		return nil, fmt.Errorf("it was not encrypted for this vault under the master key %s: %w", id, store.ErrCorrupt)
	}
	return plain, nil
}

// Rotation is what Rotate left in a file.
type Rotation struct {
	Current string
	Old     []string // keys that are kept until nothing needs them
}

// Rotate puts a new key into the file, as the current one; those before stay
// readable. A file that has old keys already is left as it is: its rotation has
// not come to its end.
func Rotate(path string) (Rotation, error) {
	return change(path, func(r *ring) (*keyset.Handle, error) {
		if len(r.ids) > 1 {
			return nil, nil
		}
		m := keyset.NewManagerFromHandle(r.handle)
		id, err := m.Add(aead.XChaCha20Poly1305KeyTemplate())
		if err != nil {
			return nil, err
		}
		if err := m.SetPrimary(id); err != nil {
			return nil, err
		}
		return m.Handle()
	})
}

// Drop takes an old key out of the file.
func Drop(path, old string) (Rotation, error) {
	return change(path, func(r *ring) (*keyset.Handle, error) {
		if !r.ids[old] {
			return nil, nil
		}
		id, err := strconv.ParseUint(old, 16, 32)
		if err != nil {
			return nil, err
		}
		m := keyset.NewManagerFromHandle(r.handle)
		if err := m.Delete(uint32(id)); err != nil {
			return nil, err
		}
		return m.Handle()
	})
}

// change writes the set that fn makes of the file's; nil leaves it.
func change(path string, fn func(*ring) (*keyset.Handle, error)) (Rotation, error) {
	k, err := Open(path, false)
	if err != nil {
		return Rotation{}, err
	}
	r, err := k.now()
	if err != nil {
		return Rotation{}, err
	}
	handle, err := fn(r)
	if err != nil {
		return Rotation{}, fmt.Errorf("change the master keys in %s: %w", path, err)
	}
	if handle != nil {
		text, err := write(handle)
		if err != nil {
			return Rotation{}, err
		}
		if err := put(path, text, true); err != nil {
			return Rotation{}, fmt.Errorf("write the master keys: %w", err)
		}
		if r, err = k.now(); err != nil {
			return Rotation{}, err
		}
	}
	rot := Rotation{Current: r.current}
	for i := range r.handle.Len() {
		entry, err := r.handle.Entry(i)
		if err != nil {
			return Rotation{}, err
		}
		if id := name(entry.KeyID()); id != r.current {
			rot.Old = append(rot.Old, id)
		}
	}
	return rot, nil
}

// put writes a file that only its owner reads, whole or not at all, and durably.
// A file that is there is an error where replace is not set.
func put(path, text string, replace bool) (err error) {
	var b [8]byte
	rand.Read(b[:])
	temporary := path + "." + hex.EncodeToString(b[:])
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if replace {
			err = os.Rename(temporary, path)
		} else {
			err = errors.Join(os.Link(temporary, path), os.Remove(temporary))
		}
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(temporary)))
	}
	return fsync.Folder(filepath.Dir(path))
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
