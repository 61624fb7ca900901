package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/stayd/stayd/internal/store"
)

var concurrentCases = []testCase{
	{"ManySessions", testManySessions},
	{"FailuresBetween", testFailuresBetween},
	{"OneSession", testOneSession},
	{"ReadersSeeWholeAppends", testReadersSeeWholeAppends},
}

// together runs f(0) to f(n-1) at once and waits for them.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	wg.Wait()
}

func testManySessions(f *fixture) {
	logs := make([]*log, 100)
	together(len(logs), func(i int) {
		l := f.log(fmt.Sprintf("p%d", i%3), fmt.Sprintf("session-%d", i))
		logs[i] = l
		for j := range 10 {
			data := []string{fmt.Sprintf(`"%d of %d"`, j, i)}
			if j == i%10 {
				data = append(data, text(5000, strconv.Itoa(i%7)), text(20_000, fmt.Sprintf("own %d", i)))
			}
			a := l.next(data...)
			if err := f.s.Append(f.ctx, a); err != nil {
				f.Errorf("append %d to %s: %v", j, l.session, err)
				return
			}
			l.took(a)
		}
	})
	for _, l := range logs {
		f.check(f.s, l)
	}
	u, err := f.s.Usage(f.ctx)
	if err != nil || u.Sessions != 100 || u.Records != 1200 {
		f.Errorf("usage: %+v, %v; want 100 sessions, 1200 records", u, err)
	}
}

// testFailuresBetween mixes appends that must fail among those that must not.
func testFailuresBetween(f *fixture) {
	const n = 90
	logs := make([]*log, n)
	for i := range logs {
		logs[i] = f.log("p", fmt.Sprintf("session-%d", i))
		f.append(logs[i], `1`)
	}
	for round := range 5 {
		together(n, func(i int) {
			l := logs[i]
			a := l.next(fmt.Sprintf(`"round %d"`, round), text(4500, l.session))
			var want error
			switch i % 3 {
			case 1:
				a.Epoch++
				want = store.ErrFenced
			case 2:
				a = (&log{project: "p", session: l.session, epoch: l.epoch}).next(`"again"`)
				want = store.ErrConflict
			}
			err := f.s.Append(f.ctx, a)
			if !errors.Is(err, want) {
				f.Errorf("append %d: %v, want %v", i, err, want)
			}
			if err == nil {
				l.took(a)
			}
		})
	}
	for _, l := range logs {
		f.check(f.s, l)
	}
}

// testOneSession lets many writers race for each place in one log.
func testOneSession(f *fixture) {
	l := f.log("p", "s")
	for round := range 20 {
		won := make([]*store.Append, 16)
		together(len(won), func(i int) {
			a := l.next(fmt.Sprintf(`"round %d by %d"`, round, i))
			switch err := f.s.Append(f.ctx, a); {
			case err == nil:
				won[i] = a
			case !errors.Is(err, store.ErrConflict):
				f.Errorf("writer %d: %v, want ErrConflict", i, err)
			}
		})
		winners := 0
		for _, a := range won {
			if a != nil {
				winners++
				l.took(a)
			}
		}
		if winners != 1 {
			f.Fatalf("round %d: %d writers were first", round, winners)
		}
	}
	f.check(f.s, l)
}

// testReadersSeeWholeAppends reads while others write: what was acknowledged is
// there, in whole appends of three.
func testReadersSeeWholeAppends(f *fixture) {
	l := f.log("p", "s")
	var acked sync.Map
	acked.Store("n", 0)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before, _ := acked.Load("n")
				got, err := f.s.Read(f.ctx, "p", "s", 0, 1000)
				if err != nil {
					f.Errorf("read: %v", err)
					return
				}
				if len(got)%3 != 0 || len(got) < before.(int) {
					f.Errorf("read %d records after %d were acknowledged in threes", len(got), before)
					return
				}
				verify(f, got)
			}
		})
	}
	for i := range 60 {
		a := l.next(strconv.Itoa(i), text(5000, strconv.Itoa(i)), `3`)
		if err := f.s.Append(f.ctx, a); err != nil {
			f.Errorf("append: %v", err)
			break
		}
		l.took(a)
		acked.Store("n", len(l.records))
	}
	close(done)
	readers.Wait()
	f.check(f.s, l)
}
