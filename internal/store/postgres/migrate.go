package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// minServer is the oldest server version, as server_version_num has it.
const minServer = 150000

// schemaLock is the advisory lock under which the schema is changed. The number
// is "stayd" in ASCII.
const schemaLock = 0x7374617964

// migrate brings the schema up to date. It holds a lock, so that of many nodes
// that start at once one does the work and the others find it done.
func migrate(ctx context.Context, cfg *pgx.ConnConfig) (err error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return wrap("connect", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it frees the lock either way
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return wrap("ask for the server's version", err)
	}
	if version < minServer {
		return fmt.Errorf("the server is PostgreSQL %d, this build needs %d or newer", version/10000, minServer/10000)
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(schemaLock)); err != nil {
		return wrap("lock the schema", err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close() //nolint:errcheck // the migrations are committed
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	has, knows, err := provider.GetVersions(ctx)
	if err != nil {
		return wrap("ask for the schema's version", err)
	}
	if has > knows {
		return fmt.Errorf("the database has schema version %d, this build knows up to %d: a newer build wrote it, run that or a newer one", has, knows)
	}
	if _, err := provider.Up(ctx); err != nil {
		return wrap(fmt.Sprintf("change the schema from version %d to %d", has, knows), err)
	}
	return nil
}

// distribute spreads the tables over the workers where the database has the
// citus extension, and reports whether it has.
func distribute(ctx context.Context, pool *pgxpool.Pool) (citus bool, err error) {
	err = pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')`).Scan(&citus)
	if err != nil {
		return false, wrap("ask for the citus extension", err)
	}
	if !citus {
		return false, nil
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(schemaLock)); err != nil {
			return err
		}
		for _, t := range []struct{ table, how string }{
			{"leases", `SELECT create_distributed_table('leases', 'shard')`},
			{"records", `SELECT create_distributed_table('records', 'shard', colocate_with => 'leases')`},
			{"sessions", `SELECT create_distributed_table('sessions', 'shard', colocate_with => 'leases')`},
			{"blobs", `SELECT create_distributed_table('blobs', 'shard', colocate_with => 'leases')`},
			{"pasts", `SELECT create_distributed_table('pasts', 'shard', colocate_with => 'leases')`},
			{"forks", `SELECT create_distributed_table('forks', 'shard', colocate_with => 'leases')`},
			{"trees", `SELECT create_distributed_table('trees', 'shard', colocate_with => 'leases')`},
			{"pieces", `SELECT create_distributed_table('pieces', 'shard', colocate_with => 'leases')`},
			{"memory_spaces", `SELECT create_distributed_table('memory_spaces', 'shard', colocate_with => 'leases')`},
			{"memories", `SELECT create_distributed_table('memories', 'shard', colocate_with => 'leases')`},
			{"memory_sources", `SELECT create_distributed_table('memory_sources', 'shard', colocate_with => 'leases')`},
			{"memory_segments", `SELECT create_distributed_table('memory_segments', 'shard', colocate_with => 'leases')`},
			{"memory_names", `SELECT create_reference_table('memory_names')`},
			{"objects", `SELECT create_reference_table('objects')`},
		} {
			var done bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass($1))`, t.table).Scan(&done); err != nil {
				return err
			}
			if done {
				continue
			}
			if _, err := tx.Exec(ctx, t.how); err != nil {
				return err
			}
		}
		return nil
	})
	return true, wrap("distribute the tables", err)
}
