package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/store/storetest"
)

// file is a store that remembers where it is.
type file struct {
	*sqlite.Store
	path string
}

func open(tb testing.TB, path string) *file {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), path, sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return &file{s, path}
}

var factory = storetest.Factory{
	Open: func(tb testing.TB) store.Store {
		tb.Helper()
		return open(tb, filepath.Join(tb.TempDir(), "a b?.db"))
	},
	Reopen: func(tb testing.TB, s store.Store) store.Store {
		tb.Helper()
		return open(tb, s.(*file).path)
	},
}

func TestStore(t *testing.T) { storetest.Run(t, factory) }

func BenchmarkAppend(b *testing.B) { storetest.Benchmark(b, factory) }
