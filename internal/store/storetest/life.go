package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/store"
)

var lifeCases = []testCase{
	{"Reopen", testReopen},
	{"SecondNode", testSecondNode},
	{"Usage", testUsage},
	{"Cancelled", testCancelled},
	{"CancelledOnTheWay", testCancelledOnTheWay},
	{"Ping", testPing},
	{"Close", testClose},
}

func testReopen(f *fixture) {
	var logs []*log
	for i := range 20 {
		x := row("p", fmt.Sprintf("s%d", i), i)
		x.WakeAt = wake(i)
		l := f.put(x)
		f.append(l, `2`, text(9000, strconv.Itoa(i)))
		logs = append(logs, l)
	}
	f.erase(logs[0])
	f.createObject(object("p", "a", 1))
	if err := f.s.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}

	f.s = f.reopen()
	for _, l := range logs {
		f.check(f.s, l)
		f.append(l, `"after"`)
		f.check(f.s, l)
	}
	f.due(allShards(), at(2), 10, "s0", "s1", "s2")
	f.listObjects(store.ObjectQuery{Project: "p"}, "a")
	if got := f.claim(f.s, "node-2", time.Hour, 3)[3]; got.Owner != owner || got.Epoch != f.epochs[3] {
		f.Errorf("lease after reopening: %+v, want %s at epoch %d", got, owner, f.epochs[3])
	}
}

// testSecondNode writes the same log through two stores in turn.
func testSecondNode(f *fixture) {
	other := f.reopen()
	l := f.log("p", "s")
	for i := range 10 {
		s := []store.Store{f.s, other}[i%2]
		a := l.next(strconv.Itoa(i), text(6000, "both"))
		if err := s.Append(f.ctx, a); err != nil {
			f.Fatalf("append %d: %v", i, err)
		}
		stale := (&log{project: "p", session: "s", epoch: l.epoch, records: l.records}).next(`"stale"`)
		l.took(a)
		f.check(f.s, l)
		f.check(other, l)
		if err := []store.Store{other, f.s}[i%2].Append(f.ctx, stale); !errors.Is(err, store.ErrConflict) {
			f.Errorf("append at a head that the other node moved: %v, want ErrConflict", err)
		}
	}
	f.blobs(1)
}

func testUsage(f *fixture) {
	before, err := f.s.Usage(f.ctx)
	if err != nil {
		f.Fatalf("usage: %v", err)
	}
	if before.Sessions != 0 || before.Records != 0 || before.Blobs != 0 {
		f.Errorf("empty store: %+v", before)
	}
	noise := make([]byte, 0, 400_000)
	for i := range 50_000 {
		noise = fmt.Appendf(noise, "%08x", uint32(i*2654435761))
	}
	f.append(f.log("p", "s"), `1`, `2`, `"`+string(noise)+`"`)
	f.append(f.log("p", "t"), `1`)
	f.append(f.log("q", "u"), `1`)
	u, err := f.s.Usage(f.ctx)
	if err != nil {
		f.Fatalf("usage: %v", err)
	}
	if u.Sessions != 3 || u.Records != 5 || u.Blobs != 1 || u.Bytes < before.Bytes+50_000 {
		f.Errorf("usage: %+v, before %+v", u, before)
	}
}

func testCancelled(f *fixture) {
	l := f.log("p", "s")
	f.put(row("p", "t", 1))
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"append": func() error { return f.s.Append(ctx, l.next(`1`)) },
		"read":   func() error { _, err := f.s.Read(ctx, "p", "t", 0, 10); return err },
		"session": func() error {
			_, err := f.s.Session(ctx, "p", "t")
			return err
		},
		"sessions": func() error {
			_, err := f.s.Sessions(ctx, store.SessionQuery{Project: "p", Limit: 10})
			return err
		},
		"claim":         func() error { _, err := f.s.Claim(ctx, "x", []int{1}, time.Hour); return err },
		"create object": func() error { return f.s.CreateObject(ctx, object("p", "a", 1)) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			f.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	f.check(f.s, l)
	f.append(l, `1`)
	f.check(f.s, l)
}

// testCancelledOnTheWay cancels while appends are under way: one that says it
// was written was, and one that does not say ErrUnavailable was not.
func testCancelledOnTheWay(f *fixture) {
	together(32, func(i int) {
		l := f.log("p", fmt.Sprintf("s%d", i))
		for j := range 20 {
			ctx, cancel := context.WithTimeout(f.ctx, time.Duration(j*i)*20*time.Microsecond)
			a := l.next(strconv.Itoa(j))
			err := f.s.Append(ctx, a)
			cancel()
			switch {
			case err == nil:
				l.took(a)
			case errors.Is(err, store.ErrUnavailable):
				// It may take place even now: writing it again settles that.
				again := f.s.Append(f.ctx, a)
				if again != nil && !errors.Is(again, store.ErrConflict) {
					f.Errorf("append again: %v", again)
				}
				l.took(a)
			case !errors.Is(err, context.DeadlineExceeded):
				f.Errorf("append: %v", err)
			}
		}
		f.check(f.s, l)
	})
}

func testPing(f *fixture) {
	if err := f.s.Ping(f.ctx); err != nil {
		f.Errorf("ping: %v", err)
	}
}

func testClose(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`)
	if err := f.s.Close(); err != nil {
		f.Fatalf("close: %v", err)
	}
	if err := f.s.Close(); err != nil {
		f.Errorf("close again: %v", err)
	}
	for name, call := range map[string]func() error{
		"append": func() error { return f.s.Append(f.ctx, l.next(`2`)) },
		"read":   func() error { _, err := f.s.Read(f.ctx, "p", "s", 0, 10); return err },
		"session": func() error {
			_, err := f.s.Session(f.ctx, "p", "s")
			return err
		},
		"claim": func() error { _, err := f.s.Claim(f.ctx, "x", []int{1}, time.Hour); return err },
		"ping":  func() error { return f.s.Ping(f.ctx) },
		"usage": func() error { _, err := f.s.Usage(f.ctx); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrUnavailable) {
			f.Errorf("%s after close: %v, want ErrUnavailable", name, err)
		}
	}
}
