package storefault_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/store/storefault"
	"github.com/stayd/stayd/internal/store/storetest"
)

func open(tb testing.TB, path string) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), path, sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

// file is a wrapped store that remembers where it is.
type file struct {
	*storefault.Store
	path string
}

// TestWithoutRules shows that the wrapper changes nothing by itself.
func TestWithoutRules(t *testing.T) {
	at := func(tb testing.TB, path string) store.Store {
		tb.Helper()
		return file{storefault.New(open(tb, path)), path}
	}
	storetest.Run(t, storetest.Factory{
		Open: func(tb testing.TB) store.Store {
			tb.Helper()
			return at(tb, filepath.Join(tb.TempDir(), "stayd.db"))
		},
		Reopen: func(tb testing.TB, s store.Store) store.Store {
			tb.Helper()
			return at(tb, s.(file).path)
		},
	})
}

const session = "s"

// seed returns a store whose shard is held, and the epoch.
func seed(t *testing.T) (*sqlite.Store, int64) {
	t.Helper()
	s := open(t, filepath.Join(t.TempDir(), "stayd.db"))
	leases, err := s.Claim(t.Context(), "node", []int{store.ShardOf(session)}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s, leases[0].Epoch
}

func record(seq, epoch int64) *store.Append {
	r := event.Record{
		Session: session, Seq: seq, Time: time.UnixMicro(seq), Kind: event.KindTurnCreated, Version: event.Version,
		Data: []byte("{}"), Salt: make([]byte, event.SaltSize),
	}
	r.Seal(event.Hash{})
	return &store.Append{Project: "p", Session: session, Epoch: epoch, Records: []event.Record{r}}
}

func length(t *testing.T, s store.Store) int {
	t.Helper()
	got, err := s.Read(t.Context(), "p", session, 0, 100)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return len(got)
}

// TestFaults applies one rule to the second of three appends, each of which
// writes the next record that the log does not have.
func TestFaults(t *testing.T) {
	errOwn := errors.New("own error")
	for name, c := range map[string]struct {
		rule    storefault.Rule
		want    [3]error
		written int
	}{
		"nothing":       {storefault.Rule{Append: 9, Err: errOwn}, [3]error{}, 3},
		"fails before":  {storefault.Rule{Append: 2, Err: errOwn}, [3]error{nil, errOwn, nil}, 2},
		"fails after":   {storefault.Rule{Append: 2, After: true, Err: errOwn}, [3]error{nil, errOwn, nil}, 3},
		"always fails":  {storefault.Rule{Err: store.ErrFull}, [3]error{store.ErrFull, store.ErrFull, store.ErrFull}, 0},
		"is late":       {storefault.Rule{Append: 2, Delay: time.Millisecond}, [3]error{}, 3},
		"crashes early": {storefault.Rule{Append: 2, Crash: true}, [3]error{nil, storefault.ErrCrashed, storefault.ErrCrashed}, 1},
		"crashes late":  {storefault.Rule{Append: 2, After: true, Crash: true}, [3]error{nil, storefault.ErrCrashed, storefault.ErrCrashed}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inner, epoch := seed(t)
			s := storefault.New(inner, c.rule)
			for i, want := range c.want {
				err := s.Append(t.Context(), record(int64(length(t, inner)+1), epoch))
				if !errors.Is(err, want) {
					t.Errorf("append %d: %v, want %v", i+1, err, want)
				}
			}
			if n := length(t, inner); n != c.written {
				t.Errorf("%d records were written, want %d", n, c.written)
			}
		})
	}
}

func TestCrash(t *testing.T) {
	inner, epoch := seed(t)
	s := storefault.New(inner, storefault.Rule{Append: 1, After: true, Crash: true})
	if err := s.Append(t.Context(), record(1, epoch)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("append that crashes: %v, want ErrUnavailable", err)
	}
	<-s.Crashed()
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"read":          func() error { _, err := s.Read(ctx, "p", session, 0, 1); return err },
		"session":       func() error { _, err := s.Session(ctx, "p", session); return err },
		"sessions":      func() error { _, err := s.Sessions(ctx, store.SessionQuery{}); return err },
		"due":           func() error { _, err := s.Due(ctx, nil, time.Time{}, 1); return err },
		"create object": func() error { return s.CreateObject(ctx, store.Object{}) },
		"update object": func() error { return s.UpdateObject(ctx, store.Object{}) },
		"object":        func() error { _, err := s.Object(ctx, "p", store.KindAgent, "a"); return err },
		"objects":       func() error { _, err := s.ListObjects(ctx, store.ObjectQuery{}); return err },
		"delete object": func() error { return s.DeleteObject(ctx, "p", store.KindAgent, "a") },
		"claim":         func() error { _, err := s.Claim(ctx, "o", nil, 0); return err },
		"renew":         func() error { _, err := s.Renew(ctx, "o", 0); return err },
		"release":       func() error { return s.Release(ctx, "o") },
		"trees":         func() error { _, err := s.Trees(ctx, "p"); return err },
		"put blob":      func() error { return s.Blobs().Put(ctx, "p", nil) },
		"get blob":      func() error { _, err := s.Blobs().Get(ctx, "p", event.Hash{}, nil); return err },
		"projects":      func() error { _, err := s.Blobs().Projects(ctx); return err },
		"sweep": func() error {
			_, err := s.Blobs().Sweep(ctx, "p", time.Time{}, func(event.Hash) bool { return true })
			return err
		},
		"write memories": func() error { _, err := s.WriteMemories(ctx, &store.MemoryWrite{}); return err },
		"memory":         func() error { _, err := s.Memory(ctx, "p", "m"); return err },
		"by number":      func() error { _, err := s.MemoriesByNum(ctx, "p", "/a", nil); return err },
		"memories":       func() error { _, err := s.ListMemories(ctx, store.MemoryQuery{}); return err },
		"changes":        func() error { _, _, err := s.MemoryChanges(ctx, "p", "/a", 0, 1); return err },
		"spaces":         func() error { _, err := s.MemorySpaces(ctx, "p", "/", "", 1); return err },
		"of projects":    func() error { _, err := s.MemoryProjects(ctx); return err },
		"expired":        func() error { _, err := s.ExpiredMemories(ctx, time.Time{}, 1); return err },
		"unembedded":     func() error { _, err := s.UnembeddedMemories(ctx, "p", "/a", "m", 0, 1); return err },
		"forget":         func() error { _, err := s.ForgetMemories(ctx, "p", "/a", nil); return err },
		"segments":       func() error { _, err := s.Segments(ctx, "p", "/a"); return err },
		"segment":        func() error { _, err := s.SegmentData(ctx, "p", "/a", store.Segment{}); return err },
		"put segment":    func() error { return s.PutSegment(ctx, "p", "/a", 0, store.Segment{}, nil) },

		"collect": func() error { _, err := s.Collect(ctx, 0); return err },
		"usage":   func() error { _, err := s.Usage(ctx); return err },
		"ping":    func() error { return s.Ping(ctx) },
	} {
		if err := call(); !errors.Is(err, storefault.ErrCrashed) {
			t.Errorf("%s after the crash: %v, want ErrCrashed", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if s.Appends() != 1 {
		t.Errorf("%d appends began, want 1", s.Appends())
	}

	again := s.Reopen()
	if n := length(t, again); n != 1 {
		t.Errorf("the next process finds %d records, want 1", n)
	}
	if err := again.Append(t.Context(), record(2, epoch)); err != nil {
		t.Errorf("append by the next process: %v", err)
	}
}

// slow is a store whose appends do nothing and succeed.
type slow struct {
	store.Store
	written int
}

func (s *slow) Append(context.Context, *store.Append) error {
	s.written++
	return nil
}

func TestDelayEndsWithContext(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			inner := &slow{}
			s := storefault.New(inner, storefault.Rule{Delay: time.Hour, After: after})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begin := time.Now()
			err := s.Append(ctx, record(1, 1))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
				t.Errorf("append: %v after %v", err, time.Since(begin))
			}
			if unknown := errors.Is(err, store.ErrUnavailable); unknown != after {
				t.Errorf("after the write %v: the outcome is unknown: %v", after, unknown)
			}
			if want := map[bool]int{false: 0, true: 1}[after]; inner.written != want {
				t.Errorf("%d appends were written, want %d", inner.written, want)
			}
		})
	}
}

// TestCrashTakesOthersAlong has one append on its way when another crashes.
func TestCrashTakesOthersAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storefault.New(&slow{},
			storefault.Rule{Append: 1, Delay: time.Hour},
			storefault.Rule{Append: 2, Crash: true})
		first := make(chan error)
		go func() { first <- s.Append(t.Context(), record(1, 1)) }()
		synctest.Wait()
		if err := s.Append(t.Context(), record(2, 1)); !errors.Is(err, storefault.ErrCrashed) {
			t.Errorf("second append: %v, want ErrCrashed", err)
		}
		if err := <-first; !errors.Is(err, storefault.ErrCrashed) {
			t.Errorf("first append: %v, want ErrCrashed", err)
		}
	})
}

// TestForkCrash has the process crash before and after the first append of a
// fork. The next process finds the fork whole or not at all, and can make it.
func TestForkCrash(t *testing.T) {
	for _, after := range []bool{false, true} {
		inner, epoch := seed(t)
		leases, err := inner.Claim(t.Context(), "node", []int{store.ShardOf("fork")}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := inner.Append(t.Context(), record(1, epoch)); err != nil {
			t.Fatal(err)
		}
		r := event.Record{
			Session: "fork", Seq: 2, Time: time.UnixMicro(2), Kind: event.KindTurnCreated, Version: event.Version,
			Data: []byte("{}"), Salt: make([]byte, event.SaltSize),
		}
		r.Seal(event.Hash{})
		a := &store.Append{
			Project: "p", Session: "fork", Epoch: leases[0].Epoch, Records: []event.Record{r},
			Parent: &store.Parent{Session: session, Seq: 1}, Trees: []store.Tree{{Seq: 2, Root: event.Hash{1}}},
		}
		s := storefault.New(inner, storefault.Rule{Append: 1, After: after, Crash: true})
		if err := s.Append(t.Context(), a); !errors.Is(err, storefault.ErrCrashed) {
			t.Errorf("fork: %v, want ErrCrashed", err)
		}
		again := s.Reopen()
		got, err := again.Read(t.Context(), "p", "fork", 0, 10)
		if want := map[bool]int{false: 0, true: 2}[after]; err != nil || len(got) != want {
			t.Errorf("the next process finds %d records, %v; want %d", len(got), err, want)
		}
		if want := map[bool]error{false: nil, true: store.ErrConflict}[after]; !errors.Is(again.Append(t.Context(), a), want) {
			t.Errorf("the same fork by the next process: want %v", want)
		}
		got, err = again.Read(t.Context(), "p", "fork", 0, 10)
		if err != nil || len(got) != 2 || got[0].Session != session || got[1].Session != "fork" {
			t.Errorf("the fork has %d records, %v", len(got), err)
		}
		if roots, err := again.Trees(t.Context(), "p"); err != nil || len(roots) != 1 {
			t.Errorf("%d trees are named, %v; want 1", len(roots), err)
		}
	}
}
