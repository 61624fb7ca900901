// Package blob is the contract of where the contents of files are kept: pieces
// of bytes that are named by their SHA-256, once in a project and never shared
// between projects. The implementations are its children, and the stores of the
// log, which have room for blobs beside the log; blobtest is the suite that each
// of them passes whole. It does not know what the pieces are parts of.
package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// MaxSize is the size in bytes of the largest blob.
const MaxSize = 8 << 20

// The errors that callers branch on. Implementations wrap them.
var (
	// ErrNotFound: the project has no such blob.
	ErrNotFound = errors.New("there is no such blob")
	// ErrCorrupt: what was read is not what its name says.
	ErrCorrupt = errors.New("the blob is corrupt")
)

// Blob is a piece of bytes and its name.
type Blob struct {
	Name event.Hash // Name(Data)
	Data []byte
}

// Name returns the name of a blob: the SHA-256 of its content.
func Name(data []byte) event.Hash { return sha256.Sum256(data) }

// Store keeps blobs. All methods may be called at once from many goroutines.
type Store interface {
	// Put makes the blobs durable before it returns. One that is there already is
	// not written again, but counts as put now.
	Put(ctx context.Context, project string, blobs []Blob) error
	// Get returns a blob's content, which was checked against its name. It may lie
	// in buf, whose length does not matter and whose content is lost; nil is memory
	// of its own. Errors: ErrNotFound, ErrCorrupt.
	Get(ctx context.Context, project string, name event.Hash, buf []byte) ([]byte, error)
	// Projects lists the projects that have blobs.
	Projects(ctx context.Context) ([]string, error)
	// Sweep deletes the blobs of the project that were last put before a time and
	// that keep does not want, and returns how many. One that is put while Sweep
	// runs is there afterwards.
	Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error)
	Close() error
}
