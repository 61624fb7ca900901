package keeper_test

import (
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store/postgres"
)

// onBoth runs a test on a new store of either kind.
func onBoth(t *testing.T, test func(h *home)) {
	t.Run("sqlite", func(t *testing.T) { test(newHome(t)) })
	t.Run("postgres", func(t *testing.T) { test(newHomeOn(t, openPostgres(t, pgtest.Start(t)))) })
}

func openPostgres(t *testing.T, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// together calls f for each of n at the same time.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
