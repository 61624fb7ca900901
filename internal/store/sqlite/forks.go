package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// past is what a session has from another: the records of the session num up to
// seq. parent is 0 for a session that is no fork.
type past struct {
	parent, seq int64
	erased      int64 // the sequence number up to which the session has forgotten
	deleted     bool
}

func (t *tx) past(session int64) (p past, err error) {
	err = t.each(stmtPast, func(row []driver.Value) {
		deleted, _ := row[0].(int64)
		p.deleted = deleted != 0
		p.parent, _ = row[1].(int64)
		p.seq, _ = row[2].(int64)
		p.erased, _ = row[3].(int64)
	}, session)
	if err != nil {
		return p, fmt.Errorf("find the past of session %d: %w", session, err)
	}
	return p, nil
}

// findPast checks the append's parent and returns the past that the fork gets
// from it: of the session that wrote the last of its records, which may be one
// that the parent is a fork of.
func (a *addition) findPast(t *tx, h *head) (*past, error) {
	if h.num != 0 {
		return nil, refuse(store.ErrConflict, "the session is there, its head is %d", h.seq)
	}
	parent, err := t.head(sessionKey{a.Project, a.Parent.Session})
	if err != nil {
		return nil, err
	}
	if parent.num == 0 {
		return nil, refuse(store.ErrNotFound, "there is no parent %s", a.Parent.Session)
	}
	from, err := t.past(parent.num)
	switch {
	case err != nil:
		return nil, err
	case from.deleted:
		return nil, refuse(store.ErrNotFound, "the parent %s is deleted", a.Parent.Session)
	case parent.seq < a.Parent.Seq:
		return nil, refuse(store.ErrConflict, "the parent's head is %d", parent.seq)
	}
	p := &past{parent: parent.num, seq: a.Parent.Seq, erased: min(from.erased, a.Parent.Seq)}
	for p.seq <= from.seq {
		p.parent = from.parent
		if from, err = t.past(p.parent); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// addFork makes the session with its past.
func (a *addition) addFork(t *tx, h *head, project int64, p *past) (err error) {
	if h.num, err = t.exec(stmtAddFork, project, a.Session, int64(a.shard), p.parent, p.seq, p.erased); err != nil {
		return err
	}
	t.cache.keep(a.key, h)
	if p.erased >= p.seq {
		return nil
	}
	_, err = t.exec(stmtClaim, p.parent, p.seq, h.num, p.erased)
	return err
}

// unclaim gives up the past of a session that has forgotten it, unless a fork of
// it still has that past, and then that of the session that the past was of.
func (t *tx) unclaim(session int64) error {
	for {
		p, err := t.past(session)
		if err != nil || p.parent == 0 || p.erased < p.seq {
			return err
		}
		_, claimed, err := t.one(stmtClaimed, session, p.seq)
		if err != nil || claimed {
			return err
		}
		if _, err := t.exec(stmtUnclaim, p.parent, p.seq, session); err != nil {
			return err
		}
		session = p.parent
	}
}

// readPast finds the sessions that wrote the records over a sequence number in
// the past of a fork, the first first.
const readPast = `WITH RECURSIVE past (num, upto, erased) AS (
	SELECT s.parent, s.parent_seq, s.erased FROM sessions s JOIN projects p ON p.num = s.project
	WHERE p.id = ? AND s.id = ? AND s.parent IS NOT NULL
	UNION ALL
	SELECT s.parent, s.parent_seq, past.erased FROM past JOIN sessions s ON s.num = past.num
	WHERE s.parent_seq > ?)
SELECT past.num, s.id, past.upto, past.erased FROM past JOIN sessions s ON s.num = past.num ORDER BY past.upto`

// part is a piece of a fork's past: the records of a session up to a sequence
// number.
type part struct {
	num, upto int64
	session   string
	erased    int64 // up to which the fork has forgotten
}

func (s *Store) parts(ctx context.Context, project, session string, after int64) (list []part, err error) {
	rows, err := s.reads.past.QueryContext(ctx, project, session, after)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p part
		if err := rows.Scan(&p.num, &p.session, &p.upto, &p.erased); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// readFork reads the log of a session with what it has from others.
func (s *Store) readFork(ctx context.Context, project, session string, after int64, limit int) (list []event.Record, err error) {
	parts, err := s.parts(ctx, project, session, after)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if len(list) == limit {
			return list, nil
		}
		if p.upto <= after {
			continue
		}
		rows, err := s.reads.part.QueryContext(ctx, p.erased, p.num, after, p.upto, limit-len(list))
		if err != nil {
			return nil, err
		}
		found, _, err := s.scanLog(rows, p.session, nil)
		if err != nil {
			return nil, err
		}
		list, after = append(list, found...), p.upto
	}
	if len(list) == limit {
		return list, nil
	}
	rows, err := s.reads.log.QueryContext(ctx, project, session, after, limit-len(list))
	if err != nil {
		return nil, err
	}
	own, _, err := s.scanLog(rows, session, nil)
	return append(list, own...), err
}

// Trees lists the roots that records and objects of the project name.
func (s *Store) Trees(ctx context.Context, project string) ([]event.Hash, error) {
	list, err := s.trees(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("list trees: %w", s.classify(err))
	}
	return list, nil
}

func (s *Store) trees(ctx context.Context, project string) (list []event.Hash, err error) {
	rows, err := s.reads.db.QueryContext(ctx, `SELECT t.root FROM trees t JOIN sessions s ON s.num = t.session
		WHERE s.project = (SELECT num FROM projects WHERE id = ?)
		UNION SELECT tree FROM objects WHERE project = ? AND tree IS NOT NULL`, project, project)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var root []byte
		if err := rows.Scan(&root); err != nil {
			return nil, err
		}
		if len(root) != len(event.Hash{}) {
			return nil, fmt.Errorf("a tree's name has %d bytes: %w", len(root), store.ErrCorrupt)
		}
		list = append(list, event.Hash(root))
	}
	return list, rows.Err()
}
