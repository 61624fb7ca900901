// Package store is the contract of the log: what a store of sessions does, and
// what its callers may count on. The implementations are its children; storetest
// is the suite that each of them passes whole. It knows records by their
// envelope and never looks into their data.
package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// Shards is the number of shards that sessions hash to.
const Shards = 256

// BlobThreshold is the size of a record's data in bytes above which it is kept
// as a compressed, content-addressed blob.
const BlobThreshold = 4096

// ShardOf returns the shard of a session, from 0 to Shards-1.
func ShardOf(session string) int {
	h := fnv.New32a()
	h.Write([]byte(session)) //nolint:gosec // a hash never fails
	return int(h.Sum32() % Shards)
}

// The errors that callers branch on. Implementations wrap them.
var (
	// ErrNotFound: there is no such session or object in the project.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the log has gone on, nothing was written.
	ErrConflict = errors.New("another writer was first")
	// ErrFenced: the shard's lease has another epoch, nothing was written.
	ErrFenced = errors.New("the lease on the shard was lost")
	// ErrFull: the disk has no room, nothing was written.
	ErrFull = errors.New("the disk of the store is full")
	// ErrUnavailable: the store does not answer. Whether the write took place is
	// not known; the caller reads the head before it writes again.
	ErrUnavailable = errors.New("the store does not answer")
	// ErrCorrupt: what was read is not what was written.
	ErrCorrupt = errors.New("the store is corrupt")
)

// Store keeps logs, the indexes beside them, objects and leases. All methods may
// be called at once from many goroutines.
type Store interface {
	// Append writes the records of one session, or nothing. It returns when they
	// are durable. Appends that wait at the same time share a commit, and one
	// that fails takes no other with it.
	//
	// Errors: ErrConflict where the log's head is not the record before the
	// first, ErrFenced where the lease of the session's shard does not have the
	// epoch, ErrFull, ErrUnavailable.
	Append(ctx context.Context, a *Append) error
	// Read returns up to limit records of the session with a sequence number over
	// after, in order, with their data. A session that is not in the project has
	// none.
	Read(ctx context.Context, project, session string, after int64, limit int) ([]event.Record, error)

	// Session returns the index row of a session that is not deleted.
	Session(ctx context.Context, project, session string) (Index, error)
	// Sessions lists index rows that are not deleted, by creation time and id.
	Sessions(ctx context.Context, q SessionQuery) ([]Index, error)
	// Due lists sessions of all projects in the shards whose WakeAt is not after
	// before, the longest due first.
	Due(ctx context.Context, shards []int, before time.Time, limit int) ([]Index, error)

	Objects
	Memories
	Leases

	// Trees lists the roots that records and objects of the project name, each
	// once.
	Trees(ctx context.Context, project string) ([]event.Hash, error)
	// Blobs is the room for blobs beside the log, which is not that of the records'
	// data. It is closed with the store; closing it alone does nothing.
	Blobs() blob.Store

	// Collect forgets what Erase left to forks that do not have it any more, and
	// deletes the data of records that none has named for at least grace. It returns
	// how many of the latter. A fork's first append must take less than grace.
	Collect(ctx context.Context, grace time.Duration) (int, error)
	// Usage counts what is stored.
	Usage(ctx context.Context) (Usage, error)
	// Ping reports whether the store answers and can be written to.
	Ping(ctx context.Context) error
	Close() error
}

// Append is one atomic addition to a session's log.
type Append struct {
	Project string
	Session string
	Epoch   int64 // of the lease on ShardOf(Session)
	// Records are sealed and have ascending sequence numbers without a gap. The
	// log's head is expected to be Records[0].Seq-1; 0 is a session that does
	// not exist yet.
	Records []event.Record
	// Index is the session's new index row; nil leaves it as it is.
	Index *Index
	// Erase forgets data and salt of all records before the first, except for
	// those that a fork still has as its past. Collect forgets these when no fork
	// has them any more.
	Erase bool
	// Parent is set on the first append of a session that has the past of
	// another: Records[0].Seq is Parent.Seq+1. Read returns the parent's records
	// up to there as they are, with the id of the parent, and then those of the
	// session. ErrNotFound where the project has no such session or it is deleted,
	// ErrConflict where its log does not reach to Parent.Seq.
	Parent *Parent
	// Trees are the trees of blobs that records of this append name. They stay
	// named for as long as the record's data is there.
	Trees []Tree
}

// Parent is the session whose records up to Seq are the past of another.
type Parent struct {
	Session string
	Seq     int64
}

// Tree is the name of a tree of blobs, and the record that names it.
type Tree struct {
	Seq  int64
	Root event.Hash
}

// CheckNames finds names of a parent and of trees that no correct caller gives.
func CheckNames(a *Append) error {
	if p := a.Parent; p != nil {
		switch {
		case p.Session == a.Session:
			return errors.New("a session is no fork of itself")
		case p.Seq < 1 || a.Records[0].Seq != p.Seq+1:
			return fmt.Errorf("record %d does not follow record %d of the parent", a.Records[0].Seq, p.Seq)
		}
	}
	for _, t := range a.Trees {
		if first := a.Records[0].Seq; t.Seq < first || t.Seq >= first+int64(len(a.Records)) {
			return fmt.Errorf("record %d, which names a tree, is not in the append", t.Seq)
		}
	}
	return nil
}

// Index is the row beside a session's log by which it is found. It is a
// function of the log and could be rebuilt from it.
type Index struct {
	Project string
	Session string
	AgentID string
	// ForkedFrom is the session that wrote the last record of the past that this one
	// has from it; empty where it is no fork.
	ForkedFrom string
	// Actor stands for whom the session is with, and does not name them; empty is
	// nobody.
	Actor     string
	Status    string
	Metadata  map[string]string
	CreatedAt time.Time
	UpdatedAt time.Time
	// WakeAt is when the session has work to do without any further input; nil is
	// never.
	WakeAt  *time.Time
	Deleted bool
}

// SessionQuery selects index rows of one project.
type SessionQuery struct {
	Project    string
	AgentID    string            // empty selects all
	ForkedFrom string            // only forks of this session, deleted or not; empty selects all
	Actor      string            // as Index.Actor; empty selects all
	Metadata   map[string]string // all pairs must match
	After      string            // the id of the session before the first; ErrNotFound where there is none
	Asc        bool
	Limit      int
}

// The kinds of objects.
const (
	KindAgent       = "agent"
	KindTemplate    = "environment_template"
	KindEnvironment = "environment"
	KindFile        = "file"
	KindMemoryRule  = "memory_rule" // expiry of, or a hold on, what lies below a namespace
	KindReceipt     = "receipt"     // of what was forgotten
	KindVault       = "vault"
	KindCredential  = "credential" // of a vault: the kind is KindCredential + "/" + the vault's id
	KindVaultKey    = "vault_key"  // the wrapped key of a vault: of no project, so that all are found
	KindKey         = "api_key"
	KindOAuthClient = "oauth_client" // that was registered with an authorization server, sealed
	KindConsent     = "consent"      // that a browser is away for, sealed: of no project, as it is found by its state
	KindSigningKeys = "signing_keys" // of the runtime, sealed: of no project
)

// Objects keeps what projects have beside their sessions. An id is unique among
// the project's objects of its kind.
type Objects interface {
	// CreateObject stores a new object. ErrConflict: the id is taken.
	CreateObject(ctx context.Context, o Object) error
	// UpdateObject stores the next version. ErrConflict: the stored version is not
	// o.Version-1. ErrNotFound: there is none.
	UpdateObject(ctx context.Context, o Object) error
	Object(ctx context.Context, project, kind, id string) (Object, error)
	// ListObjects lists objects of a kind by creation time and id, as Sessions
	// does.
	ListObjects(ctx context.Context, q ObjectQuery) ([]Object, error)
	DeleteObject(ctx context.Context, project, kind, id string) error
}

// Object is something saved. Data is its JSON, which the store does not look
// into.
type Object struct {
	Project   string
	Kind      string
	ID        string
	Version   int64 // from 1
	CreatedAt time.Time
	UpdatedAt time.Time
	Data      []byte
	// Tree is the root of the tree of blobs that the object names; nil names none.
	Tree *event.Hash
}

// ObjectQuery selects objects of one kind of one project.
type ObjectQuery struct {
	Project string
	Kind    string
	After   string // the id of the object before the first; ErrNotFound where there is none
	Asc     bool
	Limit   int
}

// Leases say which process runs the sessions of a shard. Time is the store's.
type Leases interface {
	// Claim takes each of the shards that is free, expired, or already the
	// owner's, raises its epoch, and returns the state of all of them: one whose
	// Owner is another's was not taken.
	Claim(ctx context.Context, owner string, shards []int, ttl time.Duration) ([]Lease, error)
	// Renew puts off the expiry of all leases of the owner and returns how many
	// they are. It does not revive one that another has taken.
	Renew(ctx context.Context, owner string, ttl time.Duration) (int, error)
	// Release frees all leases of the owner at once.
	Release(ctx context.Context, owner string) error
}

// Lease is the state of one shard.
type Lease struct {
	Shard     int
	Owner     string
	Epoch     int64
	ExpiresIn time.Duration // by the store's clock; not positive once expired
}

// Usage counts what a store holds.
type Usage struct {
	Sessions int64
	Records  int64
	Blobs    int64
	Bytes    int64 // on disk, the indexes and the write-ahead log included
}
