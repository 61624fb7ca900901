// Package pgtest gives tests a PostgreSQL server of their own: a fresh database
// for each test, on a throw-away cluster that ends with the test binary, or a
// cluster that a test stops, crashes and starts again. It knows nothing of what
// is stored in it.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The environment that the package reads.
const (
	// EnvURL names a server that is used instead of a throw-away cluster. Its
	// user must be allowed to create databases.
	EnvURL = "TEST_POSTGRES_URL"
	// EnvRequire makes a missing server a failure where it would be a skip. CI
	// does the same.
	EnvRequire = "STAYD_REQUIRE_POSTGRES"
)

const missing = "no PostgreSQL server was found in " + binaries + ": install one (apt-get install postgresql) or set " + EnvURL

// shared is the cluster of the test binary. It is not stopped by any test: it
// ends with the process, whichever way that ends.
var shared = sync.OnceValues(newCluster)

// Start returns the URL of a new, empty database that is dropped when the test
// ends. Where no server can be had the test is skipped, or fails if CI or
// STAYD_REQUIRE_POSTGRES is set.
func Start(tb testing.TB) string {
	tb.Helper()
	if base := os.Getenv(EnvURL); base != "" {
		return createDatabase(tb, base)
	}
	requireServer(tb)
	c, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return createDatabase(tb, c.URL())
}

func requireServer(tb testing.TB) {
	tb.Helper()
	if binDir() != "" {
		return
	}
	if os.Getenv("CI") != "" || os.Getenv(EnvRequire) != "" {
		tb.Fatal(missing)
	}
	tb.Skip(missing)
}

func createDatabase(tb testing.TB, base string) string {
	tb.Helper()
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatalf("%s is not a URL: %v", EnvURL, err)
	}
	name := "stayd_test_" + rand.Text()
	if err := execute(base, `CREATE DATABASE "`+name+`"`); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := execute(base, `DROP DATABASE IF EXISTS "`+name+`" WITH (FORCE)`); err != nil {
			tb.Error(err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

func execute(base, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
