package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/store/storefault"
)

const (
	project = "proj"
	sess    = "sess"
)

func open(tb testing.TB, path string) *sqlite.Store {
	tb.Helper()
	st, err := sqlite.Open(tb.Context(), path, sqlite.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Errorf("close the store: %v", err)
		}
	})
	return st
}

func temp(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "stayd.db")
}

// book is a journal with what it told of its commits.
type book struct {
	*journal.Journal
	t       testing.TB
	id      string // of the session
	st      store.Store
	holder  *cluster.Holder
	mu      sync.Mutex
	commits []journal.Commit
}

func over(tb testing.TB, st store.Store) *book {
	tb.Helper()
	b := &book{t: tb, id: sess, st: st, holder: cluster.New(st, "owner", time.Hour, slog.New(slog.NewTextHandler(io.Discard, nil)))}
	if err := b.holder.Acquire(tb.Context(), 0, nil); err != nil {
		tb.Fatal(err)
	}
	b.Journal = journal.New(st, b.holder, time.Now, func(c journal.Commit) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.commits = append(b.commits, c)
	})
	return b
}

// told returns the sequence numbers of the records that were told of.
func (b *book) told() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []int64
	for _, c := range b.commits {
		for i := range c.Records {
			out = append(out, c.Records[i].Seq)
		}
	}
	return out
}

func created() *event.SessionCreated {
	return &event.SessionCreated{
		Project: project, Agent: event.Agent{ID: "agent", Model: "m"}, Environment: event.Environment{Type: event.EnvironmentNone},
	}
}

func (b *book) create() {
	b.t.Helper()
	if err := b.Create(b.t.Context(), project, b.id, func(tx *journal.Tx) error { return tx.Append(created()) }); err != nil {
		b.t.Fatal(err)
	}
}

func turn(n int) *event.TurnCreated {
	return &event.TurnCreated{TurnID: fmt.Sprintf("turn_%d", n), Items: []event.Item{{
		Type: event.ItemMessage, ID: fmt.Sprintf("msg_%d", n), Role: event.RoleUser,
		Content: []event.Content{{Type: event.PartInputText, Text: "hello"}},
	}}}
}

func (b *book) append(p ...event.Payload) error {
	return b.Update(b.t.Context(), project, b.id, func(tx *journal.Tx) error { return tx.Append(p...) })
}

func (b *book) view(fn func(*session.State)) {
	b.t.Helper()
	if err := b.View(b.t.Context(), project, b.id, func(s *session.State) error { fn(s); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// TestRefusedAppendLeavesNothing shows that a record that cannot follow leaves
// no trace in the state, and that who ignores that does not get the rest
// written.
func TestRefusedAppendLeavesNothing(t *testing.T) {
	for name, bad := range map[string]event.Payload{
		"an item twice": &event.TurnCreated{TurnID: "turn_2", Items: []event.Item{{Type: event.ItemMessage, ID: "msg_1"}}},
		"no JSON":       &event.ToolResult{TurnID: "turn_1", Item: event.Item{Output: json.RawMessage("{")}},
	} {
		t.Run(name, func(t *testing.T) {
			b := over(t, open(t, temp(t)))
			b.create()
			if err := b.append(turn(1)); err != nil {
				t.Fatal(err)
			}
			if err := b.append(bad); !errors.Is(err, session.ErrImpossible) {
				t.Errorf("got %v, want ErrImpossible", err)
			}
			err := b.Update(t.Context(), project, sess, func(tx *journal.Tx) error {
				tx.Append(bad)
				return tx.Append(turn(3))
			})
			if !errors.Is(err, session.ErrImpossible) {
				t.Errorf("after an ignored refusal: %v, want ErrImpossible", err)
			}
			b.view(func(s *session.State) {
				if len(s.Turns) != 1 || s.Seq != 2 {
					t.Errorf("%d turns after %d records, want 1 after 2", len(s.Turns), s.Seq)
				}
			})
			if err := b.append(turn(2)); err != nil {
				t.Errorf("the next input: %v", err)
			}
		})
	}
}

// TestLostAnswer has an append take place of which the answer is lost.
func TestLostAnswer(t *testing.T) {
	st := storefault.New(open(t, temp(t)), storefault.Rule{Append: 2, After: true, Err: store.ErrUnavailable})
	b := over(t, st)
	b.create()
	if err := b.append(turn(1)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if last := b.commits[len(b.commits)-1]; !last.Runnable || len(last.Records) != 0 {
		t.Errorf("whoever runs the session was not told that there may be work: %+v", last)
	}
	b.view(func(s *session.State) {
		if len(s.Turns) != 1 {
			t.Errorf("%d turns, want 1", len(s.Turns))
		}
	})
	if got := b.told(); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("told of the records %v, want 1 and 2", got)
	}
	b.view(func(*session.State) {})
	if err := b.append(turn(2)); err != nil {
		t.Fatal(err)
	}
	if got := b.told(); !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("told of the records %v, want 1, 2 and 3", got)
	}
}

// TestConflict has a second writer be first.
func TestConflict(t *testing.T) {
	path := temp(t)
	a := over(t, open(t, path))
	a.create()
	a.view(func(*session.State) {})
	b := over(t, open(t, path)) // the same owner: epochs go up
	if err := b.append(turn(1)); err != nil {
		t.Fatal(err)
	}
	if err := a.append(turn(2)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("an append under a superseded lease: %v, want ErrFenced", err)
	}
	if e := a.holder.Epoch(store.ShardOf(sess)); e != 0 {
		t.Errorf("the shard is still held under epoch %d", e)
	}
	b.view(func(s *session.State) {
		if len(s.Turns) != 1 {
			t.Errorf("%d turns, want 1", len(s.Turns))
		}
	})
}

// epochs is a view of leases by a second process that shares the first one's.
type epochs struct{ *cluster.Holder }

// TestDecidedAgain has two journals write one session in turns: each time, one
// of them is second, and decides again.
func TestDecidedAgain(t *testing.T) {
	st := open(t, temp(t))
	a := over(t, st)
	a.create()
	b := journal.New(st, epochs{a.holder}, time.Now, func(journal.Commit) {})
	for n := 1; n <= 10; n++ {
		j := a.Journal
		if n%2 == 0 {
			j = b
		}
		err := j.Update(t.Context(), project, sess, func(tx *journal.Tx) error {
			return tx.Append(turn(len(tx.State.Turns) + 1))
		})
		if err != nil {
			t.Fatalf("input %d: %v", n, err)
		}
	}
	over(t, st).view(func(s *session.State) {
		if len(s.Turns) != 10 || s.Turns[9].ID != "turn_10" {
			t.Errorf("%d turns", len(s.Turns))
		}
	})
}

// TestLeaseClaimedAgain has the shard be claimed again between the decision and
// the append: the new lease is not given up for the old one's sake.
func TestLeaseClaimedAgain(t *testing.T) {
	st := open(t, temp(t))
	b := over(t, st)
	b.create()
	shard := store.ShardOf(sess)
	again := cluster.New(st, "owner", time.Hour, slog.New(slog.NewTextHandler(io.Discard, nil)))
	l := &changing{Holder: b.holder}
	j := journal.New(st, l, time.Now, func(journal.Commit) {})
	err := j.Update(t.Context(), project, sess, func(tx *journal.Tx) error {
		if err := again.Acquire(t.Context(), 0, nil); err != nil {
			return err
		}
		l.Holder = again
		return tx.Append(turn(1))
	})
	if !errors.Is(err, store.ErrFenced) {
		t.Errorf("got %v, want ErrFenced", err)
	}
	if again.Epoch(shard) == 0 {
		t.Error("the lease that was claimed since was given up")
	}
}

type changing struct{ *cluster.Holder }

func TestCreateTwice(t *testing.T) {
	path := temp(t)
	b := over(t, open(t, path))
	b.create()
	for name, j := range map[string]*book{"cached": b, "not cached": over(t, open(t, path))} {
		err := j.Create(t.Context(), project, sess, func(tx *journal.Tx) error { return tx.Append(created()) })
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want ErrConflict", name, err)
		}
	}
}

func TestNotFound(t *testing.T) {
	b := over(t, open(t, temp(t)))
	b.create()
	ctx := t.Context()
	nothing := func(*session.State) error { return nil }
	if err := b.View(ctx, "other", sess, nothing); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another project's session: %v, want ErrNotFound", err)
	}
	if err := b.View(ctx, project, "none", nothing); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a session that is not there: %v, want ErrNotFound", err)
	}
	if err := b.Create(ctx, project, "empty", func(*journal.Tx) error { return nil }); err != nil {
		t.Errorf("nothing appended: %v", err)
	}
	if err := b.View(ctx, project, "empty", nothing); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a session without records: %v, want ErrNotFound", err)
	}
	if err := b.append(&event.SessionDeleted{Class: "session", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.View(ctx, project, sess, nothing); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a deleted session: %v, want ErrNotFound", err)
		}
	}
	if err := b.append(turn(1)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an input to a deleted session: %v, want ErrNotFound", err)
	}
}

// altered changes what is read.
type altered struct {
	store.Store
	change func([]event.Record) []event.Record
}

func (a altered) Read(ctx context.Context, p, s string, after int64, limit int) ([]event.Record, error) {
	r, err := a.Store.Read(ctx, p, s, after, limit)
	return a.change(r), err
}

func TestTampered(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]event.Record) []event.Record
		want   string
	}{
		"data": {func(r []event.Record) []event.Record {
			r[1].Data = []byte(strings.Replace(string(r[1].Data), "hello", "hallo", 1))
			return r
		}, "record 2 of sess: data does not match its digest"},
		"data and digest": {func(r []event.Record) []event.Record {
			r[1].Data = []byte(strings.Replace(string(r[1].Data), "hello", "hallo", 1))
			sealed := r[1]
			sealed.Seal(r[0].Hash)
			r[1].Digest = sealed.Digest
			return r
		}, "record 2 of sess: does not follow the record before it"},
		"sealed again": {func(r []event.Record) []event.Record {
			r[1].Data = []byte(strings.Replace(string(r[1].Data), "hello", "hallo", 1))
			r[1].Seal(r[0].Hash)
			return r
		}, "record 3 of sess: does not follow the record before it"},
		"time":   {func(r []event.Record) []event.Record { r[0].Time = r[0].Time.Add(time.Second); return r }, "record 1 of sess: does not follow"},
		"gap":    {func(r []event.Record) []event.Record { return slices.Delete(r, 1, 2) }, "record 3 of sess: does not follow"},
		"erased": {func(r []event.Record) []event.Record { r[1].Data, r[1].Salt = nil, nil; return r }, "record 2 of sess was erased, and no record says why"},
	} {
		t.Run(name, func(t *testing.T) {
			path := temp(t)
			b := over(t, open(t, path))
			b.create()
			for n := 1; n <= 3; n++ {
				if err := b.append(turn(n)); err != nil {
					t.Fatal(err)
				}
			}
			bad := over(t, altered{open(t, path), c.change})
			err := bad.View(t.Context(), project, sess, func(*session.State) error { return nil })
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrCorrupt and %q", err, c.want)
			}
		})
	}
}

// TestPanic shows that a panic in an update unlocks the session and leaves
// nothing of the update.
func TestPanic(t *testing.T) {
	b := over(t, open(t, temp(t)))
	b.create()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		b.Update(t.Context(), project, sess, func(tx *journal.Tx) error {
			if err := tx.Append(turn(1)); err != nil {
				return err
			}
			panic("in the update")
		})
	}()
	b.view(func(s *session.State) {
		if s.Seq != 1 {
			t.Errorf("%d records, want 1", s.Seq)
		}
	})
}

// TestWaitEndsWithContext has a reader give up that waits for the session.
func TestWaitEndsWithContext(t *testing.T) {
	b := over(t, open(t, temp(t)))
	b.create()
	b.view(func(*session.State) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.View(ctx, project, sess, func(*session.State) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
	})
}
