// Package journal gives the door and the worker the states of sessions, and
// takes what they append. It is where a log is loaded and folded, where records
// get their time, salt and hash, and where an append that came second is decided
// again on the state as it then is. It does not know why anything is appended.
package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// Leases tells under which epoch this process holds a shard.
type Leases interface {
	Epoch(shard int) int64 // 0 where it does not
	Lost(shard int)
}

// Commit is what was made durable.
type Commit struct {
	Project string
	Session string
	// Records is empty where the answer of an append was lost: there may be
	// records or not. If there are, a commit with them follows when the session is
	// next opened.
	Records []event.Record
	// Runnable is set where the session has work to do that whoever appended
	// this does not do.
	Runnable bool
}

// Journal holds the states of the sessions that are in use. It is safe for use
// by many goroutines.
type Journal struct {
	store    store.Store
	leases   Leases
	now      func() time.Time
	onCommit func(Commit)
	cache    *cache
}

// New returns a journal over the store. onCommit is called after every commit,
// one call at a time for a session.
func New(st store.Store, leases Leases, now func() time.Time, onCommit func(Commit)) *Journal {
	return &Journal{store: st, leases: leases, now: now, onCommit: onCommit, cache: newCache()}
}

// pageSize is how many records are read at a time.
const pageSize = 512

// View calls fn with the session's state, which fn may read while it runs. The
// error is store.ErrNotFound where the project has no such session.
func (j *Journal) View(ctx context.Context, project, id string, fn func(*session.State) error) error {
	h, err := j.open(ctx, project, id)
	if err != nil {
		return err
	}
	defer j.cache.release(h)
	return fn(h.state)
}

// attempts is how often an update is decided again after another writer was
// first.
const attempts = 8

// Update calls fn with a transaction on the session, and makes durable what fn
// appended to it, or nothing where fn returns an error. fn is called again where
// another writer was first, and must not do anything that may not be done twice.
func (j *Journal) Update(ctx context.Context, project, id string, fn func(*Tx) error) error {
	for n := 1; ; n++ {
		err := j.update(ctx, project, id, fn)
		if !errors.Is(err, store.ErrConflict) || n == attempts {
			return err
		}
	}
}

func (j *Journal) update(ctx context.Context, project, id string, fn func(*Tx) error) error {
	h, err := j.open(ctx, project, id)
	if err != nil {
		return err
	}
	defer j.cache.release(h)
	return j.write(ctx, h, fn)
}

// Create makes a new session of what fn appends. The error is store.ErrConflict
// where the id is taken.
func (j *Journal) Create(ctx context.Context, project, id string, fn func(*Tx) error) error {
	h, err := j.cache.acquire(ctx, key{project, id})
	if err != nil {
		return err
	}
	defer j.cache.release(h)
	if h.state != nil {
		return fmt.Errorf("session %s: %w", id, store.ErrConflict)
	}
	h.state = session.New(id)
	return j.write(ctx, h, fn)
}

// Fork makes a new session that has the past of another up to the record at, of
// what fn appends. Its first payload is *event.SessionForked. Errors:
// store.ErrConflict where the id is taken, or the other's log does not reach to
// at, store.ErrNotFound where there is no such session.
func (j *Journal) Fork(ctx context.Context, project, parent string, at int64, id string, fn func(*Tx) error) error {
	h, err := j.cache.acquire(ctx, key{project, id})
	if err != nil {
		return err
	}
	defer j.cache.release(h)
	if h.state != nil {
		return fmt.Errorf("session %s: %w", id, store.ErrConflict)
	}
	past := &loading{state: session.New("")}
	if err := j.fold(ctx, project, parent, past, at); err != nil {
		return err
	}
	if past.state.Seq == 0 {
		return fmt.Errorf("session %s: %w", parent, store.ErrNotFound)
	}
	if past.state.Seq != at {
		return fmt.Errorf("session %s ends before record %d: %w", parent, at, store.ErrConflict)
	}
	h.state, h.parent = past.state, &store.Parent{Session: parent, Seq: at}
	defer func() { h.parent = nil }()
	err = j.write(ctx, h, fn)
	if err == nil && h.state != nil {
		h.size += past.size
	}
	return err
}

// write runs fn, and commits. The state is folded as fn appends; after any error
// it is not what is stored, and is dropped.
func (j *Journal) write(ctx context.Context, h *handle, fn func(*Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.drop()
			panic(p)
		}
	}()
	tx := &Tx{State: h.state, Now: j.now().UTC().Truncate(time.Microsecond), session: h.key.id}
	tx.Epoch = j.leases.Epoch(store.ShardOf(h.key.id))
	err = fn(tx)
	if err == nil {
		err = tx.broken
	}
	if err != nil {
		if len(tx.records) > 0 || h.isNew() || tx.broken != nil {
			h.drop()
		}
		return err
	}
	if len(tx.records) == 0 {
		if h.isNew() {
			h.drop()
		}
		return nil
	}
	return j.commit(ctx, h, tx)
}

func (j *Journal) commit(ctx context.Context, h *handle, tx *Tx) error {
	index := indexOf(h.key.project, tx.State, loop.Next(tx.State, loop.Moment{Now: tx.Now, Epoch: tx.Epoch}))
	a := &store.Append{Project: h.key.project, Session: h.key.id, Epoch: tx.Epoch, Records: tx.records, Erase: tx.State.Deleted, Parent: h.parent, Trees: tx.trees}
	if !sameIndex(&h.index, &index) {
		a.Index = &index
	}
	if err := j.store.Append(ctx, a); err != nil {
		h.drop()
		j.notAppended(h, tx, err)
		return fmt.Errorf("append to session %s: %w", h.key.id, err)
	}
	if a.Index != nil {
		h.index = index
	}
	for i := range tx.records {
		h.size += len(tx.records[i].Data)
	}
	j.onCommit(Commit{Project: h.key.project, Session: h.key.id, Records: tx.records, Runnable: !tx.Driven && index.WakeAt != nil && !index.WakeAt.After(tx.Now)})
	if tx.State.Deleted {
		h.drop()
	}
	return nil
}

// notAppended does what a failed append asks for beside the dropping of the
// state.
func (j *Journal) notAppended(h *handle, tx *Tx, err error) {
	shard := store.ShardOf(h.key.id)
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrFull):
	case errors.Is(err, store.ErrFenced):
		// The lease may have been claimed again since.
		if j.leases.Epoch(shard) == tx.Epoch {
			j.leases.Lost(shard)
		}
	default:
		// The write may have taken place. Who follows the session is told when it is
		// loaded, and who runs it has to look.
		if h.doubt == 0 {
			h.doubt = tx.records[0].Seq
		}
		if !tx.Driven {
			j.onCommit(Commit{Project: h.key.project, Session: h.key.id, Runnable: true})
		}
	}
}

// open returns the session's handle, locked, with its state loaded.
func (j *Journal) open(ctx context.Context, project, id string) (*handle, error) {
	h, err := j.cache.acquire(ctx, key{project, id})
	if err != nil {
		return nil, err
	}
	if h.state == nil {
		err = j.load(ctx, h)
	}
	if err == nil && h.state.Deleted {
		h.drop()
		err = fmt.Errorf("session %s: %w", id, store.ErrNotFound)
	}
	if err != nil {
		j.cache.release(h)
		return nil, err
	}
	return h, nil
}

// load folds the log, and checks its chain on the way.
func (j *Journal) load(ctx context.Context, h *handle) error {
	l := &loading{state: session.New(""), doubt: h.doubt}
	if err := j.fold(ctx, h.key.project, h.key.id, l, math.MaxInt64); err != nil {
		return err
	}
	state := l.state
	switch {
	case state.Seq == 0:
		return fmt.Errorf("session %s: %w", h.key.id, store.ErrNotFound)
	case state.ID != h.key.id:
		return fmt.Errorf("load session %s: its log ends as that of %s: %w", h.key.id, state.ID, store.ErrCorrupt)
	case l.erased > 0 && !state.Deleted:
		return fmt.Errorf("load session %s: record %d of %s was erased, and no record says why: %w", h.key.id, l.erased, h.key.id, store.ErrCorrupt)
	}
	h.state, h.size, h.index, h.doubt = state, l.size, store.Index{}, 0
	if len(l.untold) > 0 {
		j.onCommit(Commit{Project: h.key.project, Session: h.key.id, Records: l.untold, Runnable: true})
	}
	return nil
}

// loading is a log that is being folded.
type loading struct {
	state  *session.State
	size   int            // bytes of data
	erased int64          // the first record that was erased; 0 is none
	doubt  int64          // the first record that readers were not told of; 0 is none
	untold []event.Record // from there on
}

// fold folds the log's records up to one, and checks their chain.
func (j *Journal) fold(ctx context.Context, project, id string, l *loading, upto int64) error {
	for l.state.Seq < upto {
		limit := int(min(upto-l.state.Seq, pageSize))
		records, err := j.store.Read(ctx, project, id, l.state.Seq, limit)
		if err != nil {
			return fmt.Errorf("read session %s: %w", id, err)
		}
		for i := range records {
			r := &records[i]
			if err := r.Verify(l.state.Hash); err != nil {
				return fmt.Errorf("load session %s: %w: %w", id, err, store.ErrCorrupt)
			}
			if err := session.Fold(l.state, r); err != nil {
				return fmt.Errorf("load session %s: %w: %w", id, err, store.ErrCorrupt)
			}
			l.size += len(r.Data)
			if r.Erased() && l.erased == 0 {
				l.erased = r.Seq
			}
			if l.doubt > 0 && r.Seq >= l.doubt {
				l.untold = append(l.untold, *r)
			}
		}
		if len(records) < limit {
			break
		}
	}
	return nil
}

// Rest forgets the states that nobody uses. They are loaded again when they are
// asked for.
func (j *Journal) Rest() { j.cache.forget() }

// Read returns records of the session, as the store does.
func (j *Journal) Read(ctx context.Context, project, id string, after int64, limit int) ([]event.Record, error) {
	return j.store.Read(ctx, project, id, after, limit)
}

// Tx is one update of a session.
type Tx struct {
	State *session.State // with what was appended so far
	Now   time.Time
	Epoch int64 // of the lease on the session's shard
	// Driven is set by who does what follows from this update itself.
	Driven bool

	session string
	records []event.Record
	trees   []store.Tree
	broken  error // of an Append, after which State is not to be used
}

// Append adds a record to the log and folds it into State. The error wraps
// session.ErrImpossible where a payload cannot be written or cannot follow;
// nothing of the update is written then.
func (tx *Tx) Append(payloads ...event.Payload) error {
	for _, p := range payloads {
		if tx.broken == nil {
			tx.broken = tx.append(p)
		}
	}
	return tx.broken
}

func (tx *Tx) append(p event.Payload) error {
	data, err := event.Encode(p)
	if err != nil {
		return fmt.Errorf("%w: %w", err, session.ErrImpossible)
	}
	r := event.Record{
		Session: tx.session, Seq: tx.State.Seq + 1, Time: tx.Now,
		Kind: p.Kind(), Version: event.Version, Data: data, Salt: make([]byte, event.SaltSize),
	}
	rand.Read(r.Salt)
	r.Seal(tx.State.Hash)
	if !event.Settled(p, data) {
		// The state has to be what it will be when the log is loaded.
		if p, err = event.Decode(&r); err != nil {
			return fmt.Errorf("%w: %w", err, session.ErrImpossible)
		}
	}
	if err := session.FoldPayload(tx.State, &r, p); err != nil {
		if !errors.Is(err, session.ErrImpossible) {
			err = fmt.Errorf("%w: %w", err, session.ErrImpossible)
		}
		return err
	}
	tx.records = append(tx.records, r)
	for _, root := range event.Trees(p) {
		tx.trees = append(tx.trees, store.Tree{Seq: r.Seq, Root: root})
	}
	return nil
}
