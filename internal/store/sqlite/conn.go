package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	modernc "modernc.org/sqlite"
)

// conn is the writer's connection with its prepared statements. It is used
// below database/sql, whose locks and conversions cost as much as a row, and by
// one goroutine only.
type conn struct {
	// ctx never ends: what one caller no longer waits for is part of a transaction
	// that others wait for.
	ctx   context.Context
	raw   driver.Conn
	stmts [stmtCount]*stmt
}

func connect(ctx context.Context, path string) (*conn, error) {
	all := make([]int, stmtCount)
	for i := range all {
		all[i] = i
	}
	return dial(ctx, dsn(path, "rw",
		fmt.Sprintf("busy_timeout(%d)", busyMillis),
		"synchronous(FULL)",
		"wal_autocheckpoint(0)",
		"secure_delete(ON)",
		"temp_store(MEMORY)", // what is sorted does not go through a file of its own
		fmt.Sprintf("cache_size(-%d)", writerCache)), all...)
}

// dial opens a connection for the statements with these numbers.
func dial(ctx context.Context, name string, ids ...int) (*conn, error) {
	connector, err := modernc.NewConnector(name)
	if err != nil {
		return nil, err
	}
	raw, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{ctx: context.WithoutCancel(ctx), raw: raw}
	for _, id := range ids {
		if c.stmts[id], err = prepare(raw, statements[id]); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", statements[id], err), c.close())
		}
	}
	return c, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		if s != nil {
			errs = append(errs, s.raw.Close())
		}
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// exec runs a statement and returns the id of the row that it inserted.
func (c *conn) exec(id int, args ...driver.Value) (int64, error) {
	s := c.stmts[id]
	r, err := s.raw.ExecContext(c.ctx, s.bind(args))
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// run runs a statement that is prepared for this once.
func (c *conn) run(query string) error {
	s, err := prepare(c.raw, query)
	if err != nil {
		return err
	}
	_, err = s.raw.ExecContext(c.ctx, nil)
	return errors.Join(err, s.raw.Close())
}

// changed runs a statement and returns how many rows it changed.
func (c *conn) changed(id int, args ...driver.Value) (int64, error) {
	s := c.stmts[id]
	r, err := s.raw.ExecContext(c.ctx, s.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// each calls f with every row. The row is valid during the call.
func (c *conn) each(id int, f func(row []driver.Value), args ...driver.Value) (err error) {
	s := c.stmts[id]
	rows, err := s.raw.QueryContext(c.ctx, s.bind(args))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		f(row)
	}
}

// one returns the first column of the first row as a number, and whether there
// is a row.
func (c *conn) one(id int, args ...driver.Value) (n int64, found bool, err error) {
	err = c.each(id, func(row []driver.Value) {
		if !found {
			n, _ = row[0].(int64)
			found = true
		}
	}, args...)
	return n, found, err
}

type stmt struct {
	raw  preparedStmt
	args []driver.NamedValue // reused from call to call
}

type preparedStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func prepare(raw driver.Conn, query string) (*stmt, error) {
	s, err := raw.Prepare(query)
	if err != nil {
		return nil, err
	}
	p, ok := s.(preparedStmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("statement %T lacks a method", s), s.Close())
	}
	return &stmt{raw: p}, nil
}

func (s *stmt) bind(args []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, v := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return s.args
}

// blobOrNull keeps a nil slice from becoming an empty blob.
func blobOrNull(b []byte) driver.Value {
	if b == nil {
		return nil
	}
	return b
}

const (
	stmtBegin = iota
	stmtCommit
	stmtRollback
	stmtSavepoint
	stmtRelease
	stmtRollbackTo
	stmtDataVersion
	stmtCheckpoint
	stmtTruncate

	stmtEpochs
	stmtProject
	stmtAddProject
	stmtSession
	stmtDeleted
	stmtHead
	stmtAddSession
	stmtPast
	stmtAddFork
	stmtSetErased
	stmtClaim
	stmtClaimed
	stmtUnclaim
	stmtSetStatus
	stmtSetIndex
	stmtAddRecord
	stmtBlob
	stmtAddBlob
	stmtNameBlob
	stmtBlobsBefore
	stmtEraseBefore
	stmtKeepBefore
	stmtAddTree
	stmtDropTrees
	stmtDropTree
	stmtForget
	stmtNotKept
	stmtRecordBlob
	stmtBlobNamed
	stmtUnnameBlob
	stmtUnnamedSince
	stmtDeleteBlob

	stmtLease
	stmtSetLease
	stmtRenew
	stmtReleaseLeases

	stmtObjectVersion
	stmtAddObject
	stmtSetObject
	stmtDeleteObject

	stmtTouchPiece
	stmtAddPiece
	stmtAddPieceData
	stmtDeletePiece
	stmtDeletePieceData

	stmtMemorySpace
	stmtAddMemorySpace
	stmtSetMemorySpace
	stmtMemoryByID
	stmtMemoryThere
	stmtAddMemory
	stmtSupersedeMemory
	stmtSetMemoryVector
	stmtUseMemory
	stmtForgotMemory
	stmtAddMemorySource
	stmtDropMemorySource
	stmtDeleteMemory
	stmtMemoryName
	stmtAddMemoryName
	stmtMemoryNamed
	stmtDeleteMemoryName
	stmtMemoryModel
	stmtAddMemoryModel
	stmtSegments
	stmtAddSegment
	stmtAddSegmentData
	stmtDeleteSegment
	stmtDeleteSegmentData

	stmtBeginRead
	stmtNoteForgotten
	stmtForgotten
	stmtScrubbed
	stmtMemoryTrees
	stmtPage
	stmtSetPage

	stmtPing
	stmtCount
)

// claimed is the condition that a fork still has what a row of the table, which
// has a session and a seq, is or belongs to.
func claimed(table string) string {
	return "EXISTS (SELECT 1 FROM forks f WHERE f.parent = " + table + ".session AND f.seq >= " + table + ".seq AND f.erased < " + table + ".seq)"
}

// statements are all that is ever written.
var statements = [stmtCount]string{
	stmtBegin:       "BEGIN IMMEDIATE",
	stmtCommit:      "COMMIT",
	stmtRollback:    "ROLLBACK",
	stmtSavepoint:   "SAVEPOINT one",
	stmtRelease:     "RELEASE one",
	stmtRollbackTo:  "ROLLBACK TO one",
	stmtDataVersion: "PRAGMA data_version",
	stmtCheckpoint:  "PRAGMA wal_checkpoint(PASSIVE)",
	stmtTruncate:    "PRAGMA wal_checkpoint(TRUNCATE)",

	stmtEpochs:     "SELECT shard, epoch FROM leases",
	stmtProject:    "SELECT num FROM projects WHERE id = ?",
	stmtAddProject: "INSERT INTO projects (id) VALUES (?)",
	stmtSession:    "SELECT num FROM sessions WHERE project = ? AND id = ?",
	stmtDeleted:    "SELECT 1 FROM sessions WHERE project = ? AND id = ? AND deleted <> 0",
	stmtHead:       "SELECT seq FROM records WHERE session = ? ORDER BY seq DESC LIMIT 1",
	stmtAddSession: "INSERT INTO sessions (project, id, shard) VALUES (?, ?, ?)",
	stmtPast:       "SELECT deleted, parent, parent_seq, erased FROM sessions WHERE num = ?",
	stmtAddFork:    "INSERT INTO sessions (project, id, shard, parent, parent_seq, erased) VALUES (?, ?, ?, ?, ?, ?)",
	stmtSetErased:  "UPDATE sessions SET erased = ? WHERE num = ?",
	stmtClaim:      "INSERT INTO forks (parent, seq, child, erased) VALUES (?, ?, ?, ?)",
	stmtClaimed:    "SELECT 1 FROM forks WHERE parent = ? AND erased < ? LIMIT 1",
	stmtUnclaim:    "DELETE FROM forks WHERE parent = ? AND seq = ? AND child = ?",
	stmtSetStatus:  "UPDATE sessions SET status = ?, metadata = ?, updated_at = ? WHERE num = ?",
	stmtSetIndex: `UPDATE sessions SET status = ?, metadata = ?, updated_at = ?, agent_id = ?, forked_from = nullif(?, ''), actor = nullif(?, ''), created_at = ?, wake_at = ?, deleted = ?
		WHERE num = ?`,
	stmtAddRecord: "INSERT INTO records (session, seq, time, kind, version, salt, digest, hash, blob, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",

	stmtBlob:        "SELECT id FROM blobs WHERE project = ? AND hash = ?",
	stmtAddBlob:     "INSERT INTO blobs (project, hash, data) VALUES (?, ?, ?)",
	stmtNameBlob:    "DELETE FROM unnamed_blobs WHERE blob = ?",
	stmtBlobsBefore: "SELECT DISTINCT blob FROM records WHERE session = ? AND seq < ? AND blob IS NOT NULL",
	stmtEraseBefore: `UPDATE records SET data = NULL, salt = NULL, blob = NULL
		WHERE session = ? AND seq < ? AND salt IS NOT NULL AND NOT ` + claimed("records"),
	stmtKeepBefore: "INSERT OR IGNORE INTO kept (session, seq) SELECT session, seq FROM records WHERE session = ? AND seq < ? AND salt IS NOT NULL",
	stmtAddTree:    "INSERT OR IGNORE INTO trees (session, seq, root) VALUES (?, ?, ?)",
	stmtDropTrees:  "DELETE FROM trees WHERE session = ? AND seq < ? AND NOT " + claimed("trees"),
	stmtDropTree:   "DELETE FROM trees WHERE session = ? AND seq = ?",
	stmtForget:     "UPDATE records SET data = NULL, salt = NULL, blob = NULL WHERE id = ?",
	stmtNotKept:    "DELETE FROM kept WHERE session = ? AND seq = ?",
	stmtRecordBlob: "SELECT blob FROM records WHERE id = ? AND blob IS NOT NULL",
	stmtBlobNamed:  "SELECT 1 FROM records WHERE blob = ? LIMIT 1",
	stmtUnnameBlob: "INSERT OR REPLACE INTO unnamed_blobs (blob, since) VALUES (?, ?)",
	// A blob is deleted with the row that says that nothing names it.
	stmtUnnamedSince: "SELECT blob FROM unnamed_blobs WHERE since <= ? LIMIT ?",
	stmtDeleteBlob:   "DELETE FROM blobs WHERE id = ?",

	stmtLease: "SELECT owner, epoch, expires_at FROM leases WHERE shard = ?",
	stmtSetLease: `INSERT INTO leases (shard, owner, epoch, expires_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch, expires_at = excluded.expires_at`,
	stmtRenew:         "UPDATE leases SET expires_at = ? WHERE owner = ?",
	stmtReleaseLeases: "UPDATE leases SET owner = '', expires_at = 0 WHERE owner = ?",

	stmtObjectVersion: "SELECT version FROM objects WHERE project = ? AND kind = ? AND id = ?",
	stmtAddObject:     "INSERT INTO objects (project, kind, id, version, created_at, updated_at, data, tree) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
	stmtSetObject:     "UPDATE objects SET version = ?, created_at = ?, updated_at = ?, data = ?, tree = ? WHERE project = ? AND kind = ? AND id = ?",
	stmtDeleteObject:  "DELETE FROM objects WHERE project = ? AND kind = ? AND id = ?",

	stmtTouchPiece:      "UPDATE pieces SET put_at = ? WHERE project = ? AND hash = ?",
	stmtAddPiece:        "INSERT INTO pieces (project, hash, put_at) VALUES (?, ?, ?)",
	stmtAddPieceData:    "INSERT INTO piece_data (piece, data) VALUES (?, ?)",
	stmtDeletePiece:     "DELETE FROM pieces WHERE id = ? AND put_at < ?",
	stmtDeletePieceData: "DELETE FROM piece_data WHERE piece = ?",

	stmtMemorySpace:    "SELECT num, change, epoch, records FROM memory_spaces WHERE project = ? AND name = ?",
	stmtAddMemorySpace: "INSERT INTO memory_spaces (project, name, change, epoch, records) VALUES (?, ?, 0, 0, 0)",
	stmtSetMemorySpace: "UPDATE memory_spaces SET change = ?, epoch = ?, records = ? WHERE num = ?",
	stmtMemoryByID:     memoryOf + " WHERE m.id = ? AND m.space = ?",
	stmtMemoryThere:    "SELECT 1 FROM memories WHERE num = ?",
	stmtAddMemory: `INSERT INTO memories (num, change, project, id, strategy, origin, actor, session, model, recorded_at, valid_from, valid_to,
		superseded_at, expires_at, used_at, uses, confidence, supersedes, superseded_by, namespace, metadata, source, vector, text)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	stmtSupersedeMemory:   "UPDATE memories SET change = ?, superseded_by = ?, superseded_at = ? WHERE num = ?",
	stmtSetMemoryVector:   "UPDATE memories SET change = ?, vector = ?, model = ? WHERE num = ?",
	stmtUseMemory:         "UPDATE memories SET uses = uses + ?, used_at = max(coalesce(used_at, 0), ?) WHERE id = ? AND +project = ?",
	stmtForgotMemory:      "SELECT actor, session, supersedes, source FROM memories WHERE num = ?",
	stmtAddMemorySource:   "INSERT INTO memory_sources (source, drawn) VALUES (?, ?)",
	stmtDropMemorySource:  "DELETE FROM memory_sources WHERE source = ? AND drawn = ?",
	stmtDeleteMemory:      "DELETE FROM memories WHERE num = ?",
	stmtMemoryName:        "SELECT num FROM memory_names WHERE project = ? AND name = ?",
	stmtAddMemoryName:     "INSERT INTO memory_names (project, name) VALUES (?, ?)",
	stmtMemoryNamed:       "SELECT 1 WHERE EXISTS (SELECT 1 FROM memories WHERE actor = ?1) OR EXISTS (SELECT 1 FROM memories WHERE session = ?1)",
	stmtDeleteMemoryName:  "DELETE FROM memory_names WHERE num = ?",
	stmtMemoryModel:       "SELECT num FROM memory_models WHERE name = ?",
	stmtAddMemoryModel:    "INSERT INTO memory_models (name) VALUES (?)",
	stmtSegments:          "SELECT num, first, last FROM memory_segments WHERE space = ? AND last >= ? AND first <= ?",
	stmtAddSegment:        "INSERT INTO memory_segments (space, first, last, size) VALUES (?, ?, ?, ?)",
	stmtAddSegmentData:    "INSERT INTO memory_segment_data (num, data) VALUES (?, ?)",
	stmtDeleteSegment:     "DELETE FROM memory_segments WHERE num = ?",
	stmtDeleteSegmentData: "DELETE FROM memory_segment_data WHERE num >= ? AND num < ?",

	stmtBeginRead:     "BEGIN",
	stmtNoteForgotten: "INSERT INTO memory_forgotten (id, count, scrubbed) VALUES (1, 1, 0) ON CONFLICT (id) DO UPDATE SET count = count + 1",
	stmtForgotten:     "SELECT count FROM memory_forgotten WHERE count > scrubbed",
	stmtScrubbed:      "UPDATE memory_forgotten SET scrubbed = max(scrubbed, ?)",
	stmtMemoryTrees:   "SELECT rootpage FROM sqlite_schema WHERE tbl_name GLOB 'memor*' AND rootpage > 0",
	stmtPage:          "SELECT data FROM sqlite_dbpage WHERE pgno = ?",
	stmtSetPage:       "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?",

	stmtPing: "INSERT OR REPLACE INTO pings (id, at) VALUES (1, ?)",
}
