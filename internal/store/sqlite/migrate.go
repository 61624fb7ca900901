package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	lib "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// migrateFor is how long a process waits for another that migrates the file.
	migrateFor = time.Minute
	// lockFor is how long it waits for the whole file before it looks again
	// whether there is still something to migrate.
	lockFor = 500 * time.Millisecond
)

// versions is the table in which goose notes what was applied.
const versions = "schema_versions"

// errNewer says that this build is too old for the file.
var errNewer = errors.New("the file was written by a newer version of Stayd")

// migrate brings the file to this build's schema. It holds the whole file while
// it does so, and leaves one that is up to date to whoever else has it open.
func migrate(ctx context.Context, path string) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	latest, err := latestVersion(files)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(migrateFor)
	for {
		version, err := currentVersion(ctx, path)
		switch {
		case err != nil:
			return err
		case version == latest:
			return nil
		case version > latest:
			return fmt.Errorf("schema %d, this build knows %d: %w", version, latest, errNewer)
		}
		err = migrateOnce(ctx, path, files, latest)
		// Another process that migrates may have the file open for good
		// afterwards: then there is nothing left to do.
		if !isCode(err, lib.SQLITE_BUSY) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
	}
}

func currentVersion(ctx context.Context, path string) (int64, error) {
	db, err := openPool(path, "rwc", 1, fmt.Sprintf("busy_timeout(%d)", migrateFor.Milliseconds()))
	if err != nil {
		return 0, classify(err)
	}
	version, err := schemaVersion(ctx, db)
	return version, classify(errors.Join(err, db.Close()))
}

func migrateOnce(ctx context.Context, path string, files fs.FS, latest int64) error {
	db, err := openPool(path, "rwc", 1, fmt.Sprintf("busy_timeout(%d)", lockFor.Milliseconds()))
	if err != nil {
		return classify(err)
	}
	return errors.Join(apply(ctx, db, files, latest), classify(db.Close()))
}

// lock makes the only connection of its pool hold the file until it is closed.
// A process that opens the file meanwhile waits in its version query. The size
// of the pages can be chosen before the first of them is written only.
const lock = `PRAGMA page_size = %d; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
BEGIN EXCLUSIVE; COMMIT`

func apply(ctx context.Context, db *sql.DB, files fs.FS, latest int64) error {
	if _, err := db.ExecContext(ctx, fmt.Sprintf(lock, pageSize)); err != nil {
		return fmt.Errorf("lock the file to migrate it: %w", classify(err))
	}
	// Another process may have been first.
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return classify(err)
	}
	if version >= latest {
		return nil
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName(versions))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate from schema %d to %d: %w", version, latest, classify(err))
	}
	return nil
}

func latestVersion(files fs.FS) (int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, err
	}
	var latest int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("migration %s: %w", name, err)
		}
		latest = max(latest, v)
	}
	return latest, nil
}

// schemaVersion returns 0 for a file without a schema.
func schemaVersion(ctx context.Context, db *sql.DB) (version int64, err error) {
	var n int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", versions).Scan(&n)
	if err != nil || n == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+versions+" WHERE is_applied").Scan(&version)
	return version, err
}
