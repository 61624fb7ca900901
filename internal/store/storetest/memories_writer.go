package storetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// What a session writes is refused once it is deleted; what others write, though it
// names the session, is not.
func testMemoryWriter(f *fixture) {
	l := f.put(row("p", "s", 1))
	write := func(project, session, key string) error {
		r := fact(project, alice, key)
		r.Source.SessionID = "s"
		_, err := f.s.WriteMemories(f.ctx, &store.MemoryWrite{Project: project, Space: alice, Session: session, Add: []memory.Record{r}})
		return err
	}
	for key, session := range map[string]string{"while it is there": "s", "of a session that never was": "nobody"} {
		if err := write("p", session, key); err != nil {
			f.Errorf("%s: %v", key, err)
		}
	}
	f.delete(l)
	if err := write("p", "s", "late"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("written for a session that is deleted: %v, want ErrNotFound", err)
	}
	if err := write("q", "s", "of another project"); err != nil {
		f.Errorf("in another project: %v", err)
	}
	if err := write("p", "", "by somebody else"); err != nil {
		f.Errorf("about a session that is deleted: %v", err)
	}
	if sp, _ := f.changes("p", 0, 1); sp.Records != 3 {
		f.Errorf("the space has %d records, want 3", sp.Records)
	}
}

// When the append that deletes a session is acknowledged, all that the session ever
// writes is there to be found.
func testMemoryWriterRaces(f *fixture) {
	l := f.put(row("p", "s", 1))
	const writers, before = 4, 40
	written := make(chan struct{})
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for n := 0; ; n++ {
				w := &store.MemoryWrite{Project: "p", Space: alice, Session: "s", Add: []memory.Record{fact("p", alice, fmt.Sprintf("%d of %d", n, i))}}
				_, err := f.s.WriteMemories(f.ctx, w)
				if errors.Is(err, store.ErrNotFound) {
					return
				}
				if err != nil {
					f.Errorf("write: %v", err)
					return
				}
				select {
				case written <- struct{}{}:
				default:
				}
			}
		})
	}
	for range before {
		<-written
	}
	f.delete(l)
	then, _ := f.changes("p", 0, 1)
	all.Wait()
	if now, _ := f.changes("p", 0, 1); now != then || then.Records < before {
		f.Errorf("when the session was deleted the space was %+v, and afterwards %+v", then, now)
	}
}
