package storetest

import (
	"fmt"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// testMemorySupersedeAgain writes records again that the store has, each of which now
// says that it took the place of another: nothing is changed by it, and nothing
// refused.
func testMemorySupersedeAgain(f *fixture) {
	write := func(by string, when int, keys ...string) *store.MemoryWrite {
		w := &store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{fact("p", alice, by)}}
		for _, key := range keys {
			w.Supersede = append(w.Supersede, store.Supersession{ID: memory.ID("p", alice, key), By: w.Add[0].ID, At: at(when)})
		}
		return w
	}
	f.remember(fact("p", alice, "believed"), fact("p", alice, "replaced"), fact("p", alice, "forgotten"))
	f.writeMemories(write("next", 9, "replaced", "forgotten"))
	f.writeMemories(write("other", 9))
	if n, err := f.s.ForgetMemories(f.ctx, "p", alice, []int64{3}); err != nil || n != 1 {
		f.Fatalf("forget: %d, %v", n, err)
	}
	before, stored := f.changes("p", 0, 10)
	next, other := f.memory("p", memory.ID("p", alice, "next")), f.memory("p", memory.ID("p", alice, "other"))

	for name, c := range map[string]struct {
		w    *store.MemoryWrite
		want memory.Record
	}{
		"what nothing took the place of":            {write("other", 20, "believed"), other},
		"what another took the place of":            {write("other", 20, "replaced"), other},
		"what was forgotten":                        {write("next", 20, "forgotten"), next},
		"the same, later":                           {write("next", 20, "replaced", "forgotten"), next},
		"the same, and what nothing took before it": {write("next", 20, "believed", "replaced"), next},
	} {
		got, err := f.s.WriteMemories(f.ctx, c.w)
		if err != nil {
			f.Errorf("%s: %v", name, err)
			continue
		}
		f.same(name, got, store.MemoryWritten{Records: []memory.Record{c.want}, Repeated: []bool{true}})
		after, list := f.changes("p", 0, 10)
		f.same(name+": the space", after, before)
		f.same(name+": its records", list, stored)
	}

	// A record of the write that is new takes its place all the same, also where it
	// is there twice, and so is one that is new replaced by one that was there.
	third, fourth := fact("p", alice, "third"), fact("p", alice, "fourth")
	f.writeMemories(&store.MemoryWrite{
		Project: "p", Space: alice, Add: []memory.Record{fact("p", alice, "other"), third, third, fourth},
		Supersede: []store.Supersession{
			{ID: memory.ID("p", alice, "believed"), By: other.ID, At: at(20)},
			{ID: other.ID, By: third.ID, At: at(21)},
			{ID: fourth.ID, By: other.ID, At: at(22)},
		},
	})
	for key, want := range map[string]string{"believed": "", "other": third.ID, "third": "", "fourth": other.ID} {
		if r := f.memory("p", memory.ID("p", alice, key)); r.SupersededBy != want {
			f.Errorf("%s is superseded by %q, want %q", key, r.SupersededBy, want)
		}
	}
}

// testMemorySameID has an id in two spaces of a shard: each knows its own record.
func testMemorySameID(f *fixture) {
	other := ""
	for n := 0; other == ""; n++ {
		if space := fmt.Sprintf("/actors/%d", n); memory.ShardOf("p", space) == memory.ShardOf("p", alice) {
			other = space
		}
	}
	own := f.remember(fact("p", alice, "one"))[0]
	twin := fact("p", other, "two")
	twin.ID = own.ID
	twin = f.remember(twin)[0]
	for _, r := range []memory.Record{own, twin} {
		got := f.writeMemories(&store.MemoryWrite{Project: "p", Space: r.Space, Add: []memory.Record{r}})
		f.same("written again", got, store.MemoryWritten{Records: []memory.Record{r}, Repeated: []bool{true}})
	}
}
