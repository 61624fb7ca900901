package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// logColumns end with the sequence number up to which the records are forgotten
// by who reads them.
const logColumns = `SELECT r.seq, r.time, r.kind, r.version, r.salt, r.digest, r.hash, r.data, b.hash, b.data, `

// The joins are in this order whatever the planner may think.
const (
	readLog = logColumns + `s.erased
FROM projects p CROSS JOIN sessions s ON s.project = p.num CROSS JOIN records r ON r.session = s.num LEFT JOIN blobs b ON b.id = r.blob
WHERE p.id = ? AND s.id = ? AND r.seq > ? ORDER BY r.seq LIMIT ?`
	readPart = logColumns + `?
FROM records r LEFT JOIN blobs b ON b.id = r.blob
WHERE r.session = ? AND r.seq > ? AND r.seq <= ? ORDER BY r.seq LIMIT ?`
)

const indexColumns = `p.id, s.id, s.agent_id, coalesce(s.forked_from, ''), coalesce(s.actor, ''), s.status, s.metadata, s.created_at, s.updated_at, s.wake_at, s.deleted
FROM sessions s JOIN projects p ON p.num = s.project`

// reads is the pool of connections that only read.
type reads struct {
	db   *sql.DB
	log  *sql.Stmt
	past *sql.Stmt
	part *sql.Stmt
	row  *sql.Stmt
	note *sql.Stmt
	// piece finds the time of a piece of contents, data its content.
	piece, data *sql.Stmt
	// changes finds a space and what changed in it, memories records by number.
	changes, memories *sql.Stmt
}

func openReads(ctx context.Context, path string) (*reads, error) {
	db, err := openPool(path, "ro", readers, fmt.Sprintf("busy_timeout(%d)", busyMillis), fmt.Sprintf("cache_size(-%d)", readerCache))
	if err != nil {
		return nil, err
	}
	r := &reads{db: db}
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&r.log, readLog},
		{&r.past, readPast},
		{&r.part, readPart},
		{&r.row, "SELECT " + indexColumns + " WHERE p.id = ? AND s.id = ? AND s.created_at IS NOT NULL"},
		{&r.piece, "SELECT put_at FROM pieces WHERE project = (SELECT num FROM projects WHERE id = ?) AND hash = ?"},
		{&r.data, `SELECT d.data FROM pieces p JOIN piece_data d ON d.piece = p.id
			WHERE p.project = (SELECT num FROM projects WHERE id = ?) AND p.hash = ?`},
		{&r.changes, readChanges},
		{&r.memories, readMemories},
		{&r.note, `SELECT (SELECT count(*) FROM sessions), (SELECT coalesce(max(id), 0) FROM records), (SELECT count(*) FROM blobs)`},
	} {
		if *p.stmt, err = db.PrepareContext(ctx, p.query); err != nil { //nolint:sqlclosecheck // closed with the pool
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", p.query, err), db.Close())
		}
	}
	return r, nil
}

func (r *reads) close() error { return r.db.Close() }

// Read returns records of the session in order.
func (s *Store) Read(ctx context.Context, project, session string, after int64, limit int) ([]event.Record, error) {
	list, err := s.read(ctx, project, session, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", session, s.classify(err))
	}
	return list, nil
}

func (s *Store) read(ctx context.Context, project, session string, after int64, limit int) ([]event.Record, error) {
	rows, err := s.reads.log.QueryContext(ctx, project, session, after, limit)
	if err != nil {
		return nil, err
	}
	list, fork, err := s.scanLog(rows, session, &after)
	if err != nil || !fork {
		return list, err
	}
	return s.readFork(ctx, project, session, after, limit)
}

// scanLog returns the records in rows, which it closes, without the data of those
// that are forgotten. Where the first of them does not follow record after, which
// may be nil, the session is a fork: then scanLog says so and reads no further.
func (s *Store) scanLog(rows *sql.Rows, session string, after *int64) (list []event.Record, fork bool, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r := event.Record{Session: session}
		var us, erased int64
		var digest, hash, name, packed sql.RawBytes
		if err := rows.Scan(&r.Seq, &us, &r.Kind, &r.Version, &r.Salt, &digest, &hash, &r.Data, &name, &packed, &erased); err != nil {
			return nil, false, err
		}
		if after != nil && len(list) == 0 && r.Seq > *after+1 {
			return nil, true, nil
		}
		r.Time = fromMicros(us)
		if copy(r.Digest[:], digest) != len(r.Digest) || copy(r.Hash[:], hash) != len(r.Hash) {
			return nil, false, fmt.Errorf("record %d has a short hash: %w", r.Seq, store.ErrCorrupt)
		}
		if r.Seq <= erased {
			r.Data, r.Salt = nil, nil
		}
		if r.Data == nil && !r.Erased() {
			if len(name) != len(event.Hash{}) {
				return nil, false, fmt.Errorf("record %d lost its blob: %w", r.Seq, store.ErrCorrupt)
			}
			if r.Data, err = s.blobs.Unpack(event.Hash(name), packed); err != nil {
				return nil, false, fmt.Errorf("record %d: %w", r.Seq, err)
			}
		}
		list = append(list, r)
	}
	return list, false, rows.Err()
}

// classify gives reads of a closed store its error, whatever the pool says.
func (s *Store) classify(err error) error {
	select {
	case <-s.closed:
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			return errClosed
		}
	default:
	}
	return classify(err)
}

// Session returns the index row of a session that is not deleted.
func (s *Store) Session(ctx context.Context, project, session string) (store.Index, error) {
	x, err := s.row(ctx, project, session)
	if err == nil && x.Deleted {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Index{}, fmt.Errorf("session %s: %w", session, s.classify(err))
	}
	return x, nil
}

// row returns an index row, deleted or not.
func (s *Store) row(ctx context.Context, project, session string) (store.Index, error) {
	x, err := scanIndex(s.reads.row.QueryRowContext(ctx, project, session).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return x, err
}

func scanIndex(scan func(...any) error) (x store.Index, err error) {
	var metadata []byte
	var created, updated int64
	var wake sql.NullInt64
	if err := scan(&x.Project, &x.Session, &x.AgentID, &x.ForkedFrom, &x.Actor, &x.Status, &metadata, &created, &updated, &wake, &x.Deleted); err != nil {
		return x, err
	}
	x.CreatedAt, x.UpdatedAt = fromMicros(created), fromMicros(updated)
	if wake.Valid {
		t := fromMicros(wake.Int64)
		x.WakeAt = &t
	}
	if err := json.Unmarshal(metadata, &x.Metadata); err != nil {
		return x, fmt.Errorf("metadata of %s: %w: %w", x.Session, err, store.ErrCorrupt)
	}
	return x, nil
}

// Sessions lists index rows of a project. A deleted session still stands for its
// place as a cursor.
func (s *Store) Sessions(ctx context.Context, q store.SessionQuery) ([]store.Index, error) {
	var where strings.Builder
	where.WriteString(" WHERE s.project = (SELECT num FROM projects WHERE id = ?) AND s.created_at IS NOT NULL AND s.deleted = 0")
	args := []any{q.Project}
	if q.AgentID != "" {
		where.WriteString(" AND s.agent_id = ? AND s.agent_id <> ''")
		args = append(args, q.AgentID)
	}
	if q.ForkedFrom != "" {
		where.WriteString(" AND s.forked_from = ?")
		args = append(args, q.ForkedFrom)
	}
	if q.Actor != "" {
		where.WriteString(" AND s.actor = ?")
		args = append(args, q.Actor)
	}
	for k, v := range q.Metadata {
		where.WriteString(" AND EXISTS (SELECT 1 FROM json_each(s.metadata) m WHERE m.key = ? AND m.value = ?)")
		args = append(args, k, v)
	}
	order, beyond := "DESC", "<"
	if q.Asc {
		order, beyond = "ASC", ">"
	}
	if q.After != "" {
		x, err := s.row(ctx, q.Project, q.After)
		if err != nil {
			return nil, fmt.Errorf("list sessions after %s: %w", q.After, s.classify(err))
		}
		where.WriteString(" AND (s.created_at, s.id) " + beyond + " (?, ?)")
		args = append(args, micros(x.CreatedAt), x.Session)
	}
	list, err := s.indexes(ctx, where.String()+" ORDER BY s.created_at "+order+", s.id "+order+" LIMIT ?", append(args, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", s.classify(err))
	}
	return list, nil
}

// Due lists sessions that have work to do.
func (s *Store) Due(ctx context.Context, shards []int, before time.Time, limit int) ([]store.Index, error) {
	if shards == nil {
		shards = []int{}
	}
	list, err := json.Marshal(shards)
	if err != nil {
		return nil, fmt.Errorf("list due sessions: %w", err)
	}
	// The index by wake_at is in the order that is asked for, so that a node that
	// has most of the shards reads little more than it returns.
	due, err := s.indexes(ctx, ` WHERE s.wake_at <= ? AND s.shard IN (SELECT value FROM json_each(?))
		ORDER BY s.wake_at, s.num LIMIT ?`, micros(before), string(list), limit)
	if err != nil {
		return nil, fmt.Errorf("list due sessions: %w", s.classify(err))
	}
	return due, nil
}

func (s *Store) indexes(ctx context.Context, where string, args ...any) (list []store.Index, err error) {
	rows, err := s.reads.db.QueryContext(ctx, "SELECT "+indexColumns+where, args...) //nolint:gosec // of constants; values are bound
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		x, err := scanIndex(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// Usage counts what is stored.
func (s *Store) Usage(ctx context.Context) (u store.Usage, err error) {
	if err := s.reads.note.QueryRowContext(ctx).Scan(&u.Sessions, &u.Records, &u.Blobs); err != nil {
		return store.Usage{}, fmt.Errorf("usage: %w", s.classify(err))
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		switch info, err := os.Stat(s.path + suffix); {
		case err == nil:
			u.Bytes += info.Size()
		case !errors.Is(err, fs.ErrNotExist):
			return store.Usage{}, fmt.Errorf("usage: %w: %w", err, store.ErrUnavailable)
		}
	}
	return u, nil
}
