package journal_test

import (
	"errors"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

func (b *book) fork(of string, at int64, id string) error {
	return b.Fork(b.t.Context(), project, of, at, id, func(tx *journal.Tx) error {
		return tx.Append(&event.SessionForked{From: of, At: at}, turn(int(at)+100))
	})
}

// TestFork shows that a fork goes on from where it was made, as it is made and
// as it is loaded, and that the other session knows nothing of it.
func TestFork(t *testing.T) {
	b := over(t, open(t, temp(t)))
	b.create()
	if err := b.append(turn(1), turn(2)); err != nil {
		t.Fatal(err)
	}
	if err := b.fork(sess, 2, "fork"); err != nil {
		t.Fatal(err)
	}
	if err := b.fork("fork", 4, "fork_of_fork"); err != nil {
		t.Fatal(err)
	}
	seen := func(id string, seq int64, turns ...string) {
		t.Helper()
		err := b.View(t.Context(), project, id, func(s *session.State) error {
			if s.ID != id || s.Seq != seq || len(s.Turns) != len(turns) {
				t.Errorf("%s is %s at %d with %d turns, want %d with %v", id, s.ID, s.Seq, len(s.Turns), seq, turns)
				return nil
			}
			for i, want := range turns {
				if s.Turns[i].ID != want {
					t.Errorf("turn %d of %s is %s, want %s", i, id, s.Turns[i].ID, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		seen(sess, 3, "turn_1", "turn_2")
		seen("fork", 4, "turn_1", "turn_102")
		seen("fork_of_fork", 6, "turn_1", "turn_102", "turn_104")
		b.Rest()
	}
	for what, err := range map[string]error{
		"a point there is not": b.fork(sess, 9, "late"),
		"an id that is taken":  b.fork(sess, 1, "fork"),
	} {
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if err := b.fork("nobody", 1, "orphan"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a fork of nothing: got %v", err)
	}
	// What was deleted of the one stays with those that have it as their past.
	if err := b.append(&event.SessionDeleted{Class: "session", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	b.Rest()
	seen("fork", 4, "turn_1", "turn_102")
	if err := b.fork(sess, 1, "too_late"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a fork of a deleted session: got %v", err)
	}
}
