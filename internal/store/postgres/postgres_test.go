package postgres_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/store/storetest"
)

// modes are the two ways in which appends are committed.
var modes = map[string]func(context.Context, string) (*postgres.Store, error){
	"shared": postgres.Open,
	"lanes":  postgres.OpenLanes,
}

func TestStore(t *testing.T) {
	for name, open := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, factory(open))
		})
	}
}

func BenchmarkStore(b *testing.B) {
	for name, open := range modes {
		b.Run(name, func(b *testing.B) { storetest.Benchmark(b, factory(open)) })
	}
}

func factory(open func(context.Context, string) (*postgres.Store, error)) storetest.Factory {
	var mu sync.Mutex
	urls := make(map[store.Store]string)
	openURL := func(tb testing.TB, url string) store.Store {
		tb.Helper()
		s, err := open(tb.Context(), url)
		if err != nil {
			tb.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		urls[s] = url
		return s
	}
	return storetest.Factory{
		Open: func(tb testing.TB) store.Store {
			tb.Helper()
			return openURL(tb, pgtest.Start(tb))
		},
		Reopen: func(tb testing.TB, s store.Store) store.Store {
			tb.Helper()
			mu.Lock()
			url := urls[s]
			mu.Unlock()
			return openURL(tb, url)
		},
	}
}
