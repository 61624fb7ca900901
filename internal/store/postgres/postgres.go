// Package postgres keeps the log in PostgreSQL 15 or newer, for many nodes at
// once, and in Citus where one PostgreSQL is outgrown. It owns the schema, the
// grouping of appends into commits and the translation of the server's errors;
// it never looks into a record's data.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stayd/stayd/internal/store"
)

// Store is a store.Store in a PostgreSQL database.
type Store struct {
	pool   *pgxpool.Pool // reads, objects and leases
	writes *pgxpool.Pool // appends only, so that readers never keep them waiting
	codec  *store.BlobCodec
	writer *writer
	citus  bool
	lanes  bool // a commit never spans shards
	// naming is held for reading from when a blob is written, or a part of a log
	// is claimed for a fork, until the record is that counts on it, where these are
	// two commits.
	naming sync.RWMutex
	names  sync.Map // numbers by name, see nameNum
}

var _ store.Store = (*Store)(nil)

// Open connects to the database of the URL (or keyword string), brings its
// schema up to date, and starts the writer. Where the database has the citus
// extension the tables are distributed and every commit keeps to one shard.
//
// pool_max_conns in the URL bounds the connections for reading; the writer has
// a few of its own beside them. Errors: ErrUnavailable where the server does not
// answer; a server older than 15 and a database newer than this build are
// refused.
func Open(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, false)
}

// open forces lanes where asked to.
func open(ctx context.Context, url string, lanes bool) (_ *Store, err error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	if err := migrate(ctx, cfg.ConnConfig); err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	s := &Store{lanes: lanes}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.codec, err = store.NewBlobCodec(); err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg.Copy()); err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	if s.citus, err = distribute(ctx, s.pool); err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	s.lanes = s.lanes || s.citus
	workers, queues := 1, 1
	if s.lanes {
		workers, queues = laneWriters, store.Shards
	}
	cfg.MaxConns, cfg.MinConns = int32(workers), 0
	cfg.AfterConnect = prepareWriter
	if s.writes, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	var target committer = &sharedCommit{pool: s.writes}
	if s.lanes {
		target = &laneCommit{pool: s.writes}
	}
	s.writer = newWriter(queues, target)
	s.writer.start(context.WithoutCancel(ctx), workers)
	return s, nil
}

// prepareWriter sets up a connection that appends. Plans are made once and go
// by the keys, whatever the statistics said when the tables were empty; and an
// append that was answered is durable even where the server's default is not.
func prepareWriter(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT
		set_config('plan_cache_mode', 'force_generic_plan', false),
		set_config('enable_seqscan', 'off', false),
		set_config('enable_hashjoin', 'off', false),
		set_config('enable_mergejoin', 'off', false),
		set_config('jit', 'off', false),
		CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`)
	return err
}

// Close waits for the appends under way and closes all connections. Appends
// that come later get ErrUnavailable.
func (s *Store) Close() error {
	s.writer.stop()
	s.release()
	return nil
}

func (s *Store) release() {
	if s.writes != nil {
		s.writes.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.codec != nil {
		s.codec.Close()
	}
}

// Ping reports whether the server answers and takes writes: it deletes what is
// not there, which a standby and a read-only session refuse.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM leases WHERE shard = -1`)
	return wrap("ping postgres", err)
}

// Usage counts what is stored. Bytes leave out the write-ahead log where the
// database's user may not see it, and on Citus count the tables alone.
func (s *Store) Usage(ctx context.Context) (store.Usage, error) {
	var u store.Usage
	err := s.pool.QueryRow(ctx, `SELECT
		count(*) FILTER (WHERE seq = 1) + (SELECT count(*) FROM pasts WHERE parent IS NOT NULL),
		count(*), (SELECT count(*) FROM blobs) FROM records`).Scan(&u.Sessions, &u.Records, &u.Blobs)
	if err != nil {
		return store.Usage{}, wrap("count what is stored", err)
	}
	size := `SELECT pg_database_size(current_database())`
	if s.citus {
		size = `SELECT coalesce(sum(citus_total_relation_size(logicalrelid)), 0)::bigint FROM pg_dist_partition`
	}
	if err := s.pool.QueryRow(ctx, size).Scan(&u.Bytes); err != nil {
		return store.Usage{}, wrap("measure the database", err)
	}
	var wal int64
	err = s.pool.QueryRow(ctx, `SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()`).Scan(&wal)
	if err != nil && sqlState(err) != insufficientPrivilege {
		return store.Usage{}, wrap("measure the write-ahead log", err)
	}
	u.Bytes += wal
	return u, nil
}

// found turns the absence of a row into ErrNotFound.
func found(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}
