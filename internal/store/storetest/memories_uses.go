package storetest

import (
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// Uses are counted in any space and as often as they come, and do not change the
// space: who has read it need not read it again.
func testMemoryUses(f *fixture) {
	a, b := f.remember(fact("p", alice, "a"))[0], f.remember(fact("p", "/actors/bob", "b"))[0]
	other := f.remember(fact("q", alice, "c"))[0]
	gone := fact("p", alice, "never written")
	before, _ := f.changes("p", 0, 10)
	use := func(project string, uses ...store.MemoryUse) {
		f.Helper()
		if err := f.s.UseMemories(f.ctx, project, uses); err != nil {
			f.Errorf("count uses: %v", err)
		}
	}
	use("p")
	use("p", store.MemoryUse{ID: a.ID, Times: 2, At: at(20)}, store.MemoryUse{ID: b.ID, Times: 1, At: at(21)},
		store.MemoryUse{ID: a.ID, Times: 1, At: at(19)}, store.MemoryUse{ID: gone.ID, Times: 1, At: at(20)})
	use("p", store.MemoryUse{ID: a.ID, Times: 4, At: at(18)}) // another node's, which is late
	use("p", store.MemoryUse{ID: other.ID, Times: 1, At: at(20)})
	use("nobody", store.MemoryUse{ID: a.ID, Times: 1, At: at(20)})
	a.Uses, a.UsedAt = 7, at(20)
	b.Uses, b.UsedAt = 1, at(21)
	for _, want := range []memory.Record{a, b, other} {
		got, err := f.s.Memory(f.ctx, want.Project, want.ID)
		if err != nil {
			f.Fatal(err)
		}
		f.same("record "+want.Text, got, want)
	}
	after, _ := f.changes("p", 0, 10)
	f.same("space", after, before)
	for _, wrong := range []store.MemoryUse{{ID: "mem_1", Times: 1, At: at(1)}, {ID: a.ID, At: at(1)}, {ID: a.ID, Times: 1}} {
		if err := f.s.UseMemories(f.ctx, "p", []store.MemoryUse{wrong}); err == nil {
			f.Errorf("a use that is wrong was counted: %+v", wrong)
		}
	}
}
