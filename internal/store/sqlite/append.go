package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// addition is an append as the writer takes it: checked, and with its blobs
// packed by the caller, which may do so while the writer commits others.
type addition struct {
	*store.Append
	key      sessionKey
	shard    int
	blobs    []packedBlob // one a record; empty names none
	metadata []byte       // of Index
}

type packedBlob struct {
	name event.Hash
	data []byte
}

// Append writes the records of one session, or nothing.
func (s *Store) Append(ctx context.Context, a *store.Append) error {
	add, size, err := s.prepare(a)
	if err == nil {
		err = s.writer.submit(ctx, &request{apply: add.apply, size: size, quick: true})
	}
	if err != nil {
		return fmt.Errorf("append to %s: %w", a.Session, err)
	}
	return nil
}

func (s *Store) prepare(a *store.Append) (*addition, int, error) {
	add := &addition{Append: a, key: sessionKey{a.Project, a.Session}, shard: store.ShardOf(a.Session)}
	if err := check(a); err != nil {
		return nil, 0, err
	}
	size := 0
	for i := range a.Records {
		data := a.Records[i].Data
		if !store.IsBlob(data) {
			size += len(data) + 160
			continue
		}
		if add.blobs == nil {
			add.blobs = make([]packedBlob, len(a.Records))
		}
		b := packedBlob{name: store.BlobHash(data), data: s.blobs.Pack(data)}
		add.blobs[i] = b
		size += len(b.data) + pageSize
	}
	if a.Index != nil {
		m := a.Index.Metadata
		if m == nil {
			m = map[string]string{}
		}
		var err error
		if add.metadata, err = json.Marshal(m); err != nil {
			return nil, 0, fmt.Errorf("encode metadata: %w", err)
		}
		size += len(add.metadata) + 200
	}
	return add, size, nil
}

// check finds appends that no correct caller makes.
func check(a *store.Append) error {
	if len(a.Records) == 0 {
		return errors.New("no records")
	}
	first := a.Records[0].Seq
	for i := range a.Records {
		r := &a.Records[i]
		switch {
		case r.Session != a.Session:
			return fmt.Errorf("record %d is of another session", r.Seq)
		case r.Seq != first+int64(i):
			return fmt.Errorf("record %d stands in the place of %d", r.Seq, first+int64(i))
		case len(r.Data) > store.MaxBlob:
			return fmt.Errorf("record %d has %d bytes, more than %d", r.Seq, len(r.Data), store.MaxBlob)
		}
	}
	if err := store.CheckNames(a); err != nil {
		return err
	}
	if a.Index != nil && (a.Index.Project != a.Project || a.Index.Session != a.Session) {
		return errors.New("the index row is of another session")
	}
	return nil
}

func (a *addition) apply(t *tx) error {
	epochs, err := t.epochs()
	if err != nil {
		return err
	}
	// An epoch is 1 or more, so that 0 stands for a shard without a lease.
	if epoch := epochs[a.shard]; epoch == 0 || epoch != a.Epoch {
		return refuse(store.ErrFenced, "shard %d has epoch %d, not %d", a.shard, epoch, a.Epoch)
	}
	h, err := t.head(a.key)
	if err != nil {
		return err
	}
	first := a.Records[0].Seq
	var past *past
	switch {
	case a.Parent != nil:
		if past, err = a.findPast(t, h); err != nil {
			return err
		}
	case first != h.seq+1:
		return refuse(store.ErrConflict, "the head is %d, record %d does not follow it", h.seq, first)
	}
	// From here on an error ends the whole transaction.
	project, err := t.project(a.Project, true)
	if err != nil {
		return err
	}
	if past != nil {
		if err := a.addFork(t, h, project, past); err != nil {
			return fmt.Errorf("add fork: %w", err)
		}
	}
	if h.num == 0 {
		if h.num, err = t.exec(stmtAddSession, project, a.Session, int64(a.shard)); err != nil {
			return fmt.Errorf("add session: %w", err)
		}
		t.cache.keep(a.key, h)
	}
	for i := range a.Records {
		if err := a.addRecord(t, h, project, i); err != nil {
			return fmt.Errorf("add record %d: %w", a.Records[i].Seq, err)
		}
	}
	for _, tree := range a.Trees {
		if _, err := t.exec(stmtAddTree, h.num, tree.Seq, tree.Root[:]); err != nil {
			return fmt.Errorf("add tree: %w", err)
		}
	}
	if a.Erase {
		if err := t.erase(h.num, first); err != nil {
			return fmt.Errorf("erase: %w", err)
		}
	}
	if a.Index != nil {
		if err := a.setIndex(t, h); err != nil {
			return fmt.Errorf("set the index row: %w", err)
		}
	}
	h.seq = first + int64(len(a.Records)) - 1
	return nil
}

func (a *addition) addRecord(t *tx, h *head, project int64, i int) error {
	r := &a.Records[i]
	data, blob := blobOrNull(r.Data), driver.Value(nil)
	if a.blobs != nil && a.blobs[i].data != nil {
		id, err := t.addBlob(project, &a.blobs[i])
		if err != nil {
			return err
		}
		data, blob = nil, id
	}
	_, err := t.exec(stmtAddRecord, h.num, r.Seq, micros(r.Time), string(r.Kind), int64(r.Version),
		blobOrNull(r.Salt), r.Digest[:], r.Hash[:], blob, data)
	return err
}

// addBlob returns the id of the blob, which it stores where the project does
// not have it.
func (t *tx) addBlob(project int64, b *packedBlob) (int64, error) {
	id, found, err := t.one(stmtBlob, project, b.name[:])
	if err != nil {
		return 0, fmt.Errorf("find blob: %w", err)
	}
	if !found {
		if id, err = t.exec(stmtAddBlob, project, b.name[:], b.data); err != nil {
			return 0, fmt.Errorf("add blob: %w", err)
		}
		return id, nil
	}
	if _, err := t.exec(stmtNameBlob, id); err != nil {
		return 0, fmt.Errorf("name blob: %w", err)
	}
	return id, nil
}

// erase forgets data and salt of the session's records before seq that no fork
// has, and notes which blobs have no name left by it.
func (t *tx) erase(session, seq int64) error {
	t.erased = true
	var blobs []int64
	err := t.each(stmtBlobsBefore, func(row []driver.Value) {
		id, _ := row[0].(int64)
		blobs = append(blobs, id)
	}, session, seq)
	if err != nil {
		return err
	}
	if _, err := t.exec(stmtSetErased, seq-1, session); err != nil {
		return err
	}
	if err := t.unclaim(session); err != nil {
		return err
	}
	for _, id := range []int{stmtEraseBefore, stmtDropTrees, stmtKeepBefore} {
		n, err := t.changed(id, session, seq)
		if err != nil {
			return err
		}
		t.written += int(n) * pageSize
	}
	for _, id := range blobs {
		if err := t.unname(id); err != nil {
			return err
		}
	}
	return nil
}

// unname notes that a blob has no name any more, if so.
func (t *tx) unname(blob int64) error {
	_, named, err := t.one(stmtBlobNamed, blob)
	if err != nil || named {
		return err
	}
	_, err = t.exec(stmtUnnameBlob, blob, now())
	return err
}

// setIndex writes the session's index row. Columns that are indexed are left
// out of the statement where they stay what they are, since SQLite writes the
// index entries of every column that a statement names.
func (a *addition) setIndex(t *tx, h *head) error {
	x := a.Index
	next := head{
		num: h.num, seq: h.seq, indexed: true,
		agent: x.AgentID, forked: x.ForkedFrom, actor: x.Actor, created: micros(x.CreatedAt), deleted: x.Deleted, hasWake: x.WakeAt != nil,
	}
	if x.WakeAt != nil {
		next.wake = micros(*x.WakeAt)
	}
	if next == *h {
		_, err := t.exec(stmtSetStatus, x.Status, string(a.metadata), micros(x.UpdatedAt), h.num)
		return err
	}
	var wake driver.Value
	if next.hasWake {
		wake = next.wake
	}
	deleted := int64(0)
	if x.Deleted {
		deleted = 1
	}
	_, err := t.exec(stmtSetIndex, x.Status, string(a.metadata), micros(x.UpdatedAt), x.AgentID, x.ForkedFrom, x.Actor, next.created, wake, deleted, h.num)
	if err != nil {
		return err
	}
	*h = next
	return nil
}
