package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/store"
)

// TestFileIsBusy has another program hold the file for longer than the store
// waits: all that waited are told at once, and nothing of theirs is written.
func TestFileIsBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	s := open(t, path)
	defer s.Close() // checked by what it holds
	epochs := claim(t, s)

	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // it only held a lock
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	chains := make([]*chain, 8)
	var all sync.WaitGroup
	for i := range chains {
		chains[i] = newChain(epochs, fmt.Sprintf("s%d", i))
		all.Go(func() {
			if err := s.Append(t.Context(), chains[i].next("1")); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("append to a busy file: %v, want ErrUnavailable", err)
			}
		})
	}
	all.Wait()
	for _, c := range chains {
		c.check(t, s)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		c.append(t, s, "1")
		c.check(t, s)
	}
}
