package storetest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

var memoryCases = []testCase{
	{"RoundTrip", testMemoryRoundTrip},
	{"Repeated", testMemoryRepeated},
	{"Numbers", testMemoryNumbers},
	{"Supersede", testMemorySupersede},
	{"SupersedeTogether", testMemorySupersedeTogether},
	{"SupersedeAgain", testMemorySupersedeAgain},
	{"SameID", testMemorySameID},
	{"Vectors", testMemoryVectors},
	{"Uses", testMemoryUses},
	{"Refused", testMemoryRefused},
	{"ReadYourWrites", testMemoryReadYourWrites},
	{"Following", testMemoryFollowing},
	{"OneOfManyAdds", testMemoryOneOfManyAdds},
	{"List", testMemoryList},
	{"ListFilters", testMemoryListFilters},
	{"ListBelow", testMemoryListBelow},
	{"Spaces", testMemorySpaces},
	{"Expired", testMemoryExpired},
	{"Unembedded", testMemoryUnembedded},
	{"OtherProject", testMemoryOtherProject},
	{"Drawn", testMemoryDrawn},
	{"Writer", testMemoryWriter},
	{"WriterRaces", testMemoryWriterRaces},
	{"Forget", testMemoryForget},
	{"ForgetNames", testMemoryForgetNames},
	{"Segments", testSegments},
	{"SegmentConflicts", testSegmentConflicts},
	{"LargeSegments", testLargeSegments},
	{"SegmentsTogether", testSegmentsTogether},
}

const alice = "/actors/alice"

// fact is a record as few fields as possible make it.
func fact(project, namespace, key string) memory.Record {
	space := memory.SpaceOf(namespace)
	return memory.Record{
		Project: project, Space: space, ID: memory.ID(project, space, key), Namespace: namespace, Strategy: memory.Semantic,
		Origin: memory.OriginUser, Text: "the text of " + key, RecordedAt: at(1),
	}
}

// fullFact has every field set.
func fullFact() memory.Record {
	r := fact("p", alice+"/facts", "full")
	r.Strategy, r.Origin, r.Actor, r.Text = memory.Preference, memory.OriginTool, "alice/1", "She likes “green” tea.\n\t"
	r.Confidence, r.Metadata = 0.1, map[string]string{"k": "v", "": "empty", `q"'`: "a\u2028b"}
	r.Source = memory.Source{
		SessionID: "session_0190a5d0c3f27b4e8f6a1b2c3d4e5f60", TurnID: "turn_0190a5d0c3f27b4e8f6a1b2c3d4e5f61",
		ItemIDs:   []string{"msg_0190a5d0c3f27b4e8f6a1b2c3d4e5f62", "", "msg_1", "0190A5d0c3f27b4e8f6a1b2c3d4e5f62"},
		RecordIDs: []string{memory.ID("p", alice, "other")}, Speaker: "Alice", Position: 1 << 40, Label: "persona",
		Model: "m-1", Prompt: "v3", External: "d41d8cd98f00b204e9800998ecf8427e",
	}
	r.ValidFrom, r.ValidTo, r.RecordedAt, r.SupersededAt, r.ExpiresAt = at(-100), at(100), at(5), at(6), at(7)
	r.SupersededBy, r.Supersedes = memory.ID("p", alice, "next"), memory.ID("p", alice, "last")
	r.Vector, r.VectorModel, r.Uses, r.UsedAt = []byte{0, 1, 255}, "hash-3", 1<<33, at(8)
	return r
}

func (f *fixture) writeMemories(w *store.MemoryWrite) store.MemoryWritten {
	f.Helper()
	got, err := f.s.WriteMemories(f.ctx, w)
	if err != nil {
		f.Fatalf("write %d memories of %s: %v", len(w.Add), w.Space, err)
	}
	return got
}

// remember writes records of one space and returns them as stored.
func (f *fixture) remember(records ...memory.Record) []memory.Record {
	f.Helper()
	return f.writeMemories(&store.MemoryWrite{Project: records[0].Project, Space: records[0].Space, Add: records}).Records
}

func (f *fixture) memory(project, id string) memory.Record {
	f.Helper()
	r, err := f.s.Memory(f.ctx, project, id)
	if err != nil {
		f.Fatalf("memory: %v", err)
	}
	return r
}

func (f *fixture) changes(project string, after int64, limit int) (store.MemorySpace, []memory.Record) {
	f.Helper()
	sp, list, err := f.s.MemoryChanges(f.ctx, project, alice, after, limit)
	if err != nil {
		f.Fatalf("changes of %s after %d: %v", alice, after, err)
	}
	return sp, list
}

func testMemoryRoundTrip(f *fixture) {
	full, least := fullFact(), fact("p", alice, "least")
	// What is left open here is set in no field, so that a field that is added to
	// a record is not forgotten by the stores.
	for _, v := range []any{full, full.Source} {
		s := reflect.ValueOf(v)
		for i := range s.NumField() {
			if name := s.Type().Field(i).Name; s.Field(i).IsZero() && name != "Num" && name != "Change" {
				f.Errorf("field %s is not tested", name)
			}
		}
	}
	rough := fact("p", alice, "rough")
	rough.RecordedAt = at(3).Add(789 * time.Nanosecond).In(time.FixedZone("", 3600))
	got := f.remember(full, least, rough)
	full.Num, full.Change, least.Num, least.Change, rough.Num, rough.Change = 1, 1, 2, 2, 3, 3
	rough.RecordedAt = at(3)
	want := []memory.Record{full, least, rough}
	f.same("written", got, want)
	for _, s := range []store.Store{f.s, f.reopen()} {
		for _, w := range want {
			r, err := s.Memory(f.ctx, "p", w.ID)
			if err != nil {
				f.Fatalf("memory: %v", err)
			}
			f.same("memory", r, w)
		}
		list, err := s.MemoriesByNum(f.ctx, "p", alice, []int64{3, 1, 2, 4, 0, -1, 1 << 40})
		if err != nil {
			f.Fatalf("memories by number: %v", err)
		}
		f.same("memories by number", byNum(list), want)
		sp, list, err := s.MemoryChanges(f.ctx, "p", alice, 0, 10)
		if err != nil {
			f.Fatalf("changes: %v", err)
		}
		f.same("changes", list, want)
		f.same("space", sp, store.MemorySpace{Project: "p", Name: alice, Change: 3, Records: 3})
	}
	if list, err := f.s.MemoriesByNum(f.ctx, "p", alice, nil); err != nil || len(list) != 0 {
		f.Errorf("no numbers: %d records, %v", len(list), err)
	}
}

func byNum(list []memory.Record) []memory.Record {
	slices.SortFunc(list, func(a, b memory.Record) int { return int(a.Num - b.Num) })
	return list
}

func testMemoryRepeated(f *fixture) {
	a, b := fact("p", alice, "a"), fact("p", alice, "b")
	first := f.remember(a)
	again := a
	again.Text = "something else"
	got := f.writeMemories(&store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{b, again, b}})
	b.Num, b.Change = 2, 2
	f.same("written", got, store.MemoryWritten{Records: []memory.Record{b, first[0], b}, Repeated: []bool{false, true, true}})
	got = f.writeMemories(&store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{again}})
	f.same("written again", got, store.MemoryWritten{Records: first, Repeated: []bool{true}})
	sp, list := f.changes("p", 0, 10)
	f.same("changes", list, []memory.Record{first[0], b})
	f.same("space", sp, store.MemorySpace{Project: "p", Name: alice, Change: 2, Records: 2})
}

func testMemoryNumbers(f *fixture) {
	sp, list := f.changes("p", 0, 10)
	if sp != (store.MemorySpace{}) || len(list) != 0 {
		f.Errorf("a space that is not there is %+v with %d changes", sp, len(list))
	}
	f.writeMemories(&store.MemoryWrite{Project: "p", Space: alice})
	if sp, _ := f.changes("p", 0, 10); sp != (store.MemorySpace{}) {
		f.Errorf("a space where nothing was written is %+v", sp)
	}
	for i := range 5 {
		f.remember(fact("p", alice, strconv.Itoa(2*i)), fact("p", alice, strconv.Itoa(2*i+1)))
		f.remember(fact("p", "/actors/bob", strconv.Itoa(i)))
	}
	for after := int64(-1); after < 12; after++ {
		sp, list := f.changes("p", after, 3)
		if sp.Change != 10 || sp.Records != 10 {
			f.Errorf("space after %d: %+v", after, sp)
		}
		var got, want []int64
		for _, r := range list {
			got = append(got, r.Num)
		}
		for n := max(after, 0) + 1; n <= 10 && len(want) < 3; n++ {
			want = append(want, n)
		}
		f.same(fmt.Sprintf("numbers after %d", after), got, want)
	}
	if sp, list := f.changes("p", 0, 0); sp.Change != 10 || len(list) != 0 {
		f.Errorf("with no limit left: %+v, %d changes", sp, len(list))
	}
}

func testMemorySupersede(f *fixture) {
	old := f.remember(fact("p", alice, "old"))[0]
	next := fact("p", alice, "next")
	next.Supersedes = old.ID
	w := &store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{next}, Supersede: []store.Supersession{{ID: old.ID, By: next.ID, At: at(9)}}}
	f.writeMemories(w)
	old.SupersededBy, old.SupersededAt, old.Change = next.ID, at(9), 3
	next.Num, next.Change = 2, 2
	f.same("superseded", f.memory("p", old.ID), old)
	_, list := f.changes("p", 1, 10)
	f.same("changes", list, []memory.Record{next, old})

	// The same again changes nothing, though later.
	w.Supersede[0].At = at(10)
	got := f.writeMemories(w)
	f.same("written again", got, store.MemoryWritten{Records: []memory.Record{next}, Repeated: []bool{true}})
	f.same("superseded again", f.memory("p", old.ID), old)

	// Nothing is written where a record cannot be superseded.
	third := fact("p", alice, "third")
	missing := memory.ID("p", alice, "missing")
	for _, c := range []struct {
		id   string
		want error
	}{{old.ID, store.ErrConflict}, {missing, store.ErrNotFound}} {
		_, err := f.s.WriteMemories(f.ctx, &store.MemoryWrite{
			Project: "p", Space: alice, Add: []memory.Record{third},
			Supersede: []store.Supersession{{ID: next.ID, By: third.ID, At: at(11)}, {ID: c.id, By: third.ID, At: at(11)}},
		})
		if !errors.Is(err, c.want) {
			f.Errorf("supersede %s: %v, want %v", c.id, err, c.want)
		}
	}
	f.same("next", f.memory("p", next.ID), next)
	if _, err := f.s.Memory(f.ctx, "p", third.ID); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("record of a write that failed: %v, want ErrNotFound", err)
	}
	if sp, _ := f.changes("p", 0, 1); sp.Change != 3 || sp.Records != 2 {
		f.Errorf("space: %+v, want change 3 and 2 records", sp)
	}
	_, err := f.s.WriteMemories(f.ctx, &store.MemoryWrite{
		Project: "p", Space: "/actors/none",
		Supersede: []store.Supersession{{ID: memory.ID("p", "/actors/none", "a"), By: memory.ID("p", "/actors/none", "b"), At: at(1)}},
	})
	if !errors.Is(err, store.ErrNotFound) {
		f.Errorf("supersede in no space: %v, want ErrNotFound", err)
	}
}

// testMemorySupersedeTogether replaces records that are added in the same write,
// and lets many race for the place of one.
func testMemorySupersedeTogether(f *fixture) {
	a, b := fact("p", alice, "a"), fact("p", alice, "b")
	got := f.writeMemories(&store.MemoryWrite{
		Project: "p", Space: alice, Add: []memory.Record{a, b},
		Supersede: []store.Supersession{{ID: a.ID, By: b.ID, At: at(4)}},
	})
	a.SupersededBy, a.SupersededAt = b.ID, at(4)
	a.Num, a.Change, b.Num, b.Change = 1, 1, 2, 2
	f.same("written", got.Records, []memory.Record{a, b})
	f.same("stored", f.memory("p", a.ID), a)

	errs := make([]error, 8)
	together(len(errs), func(i int) {
		r := fact("p", alice, fmt.Sprintf("racer %d", i))
		_, errs[i] = f.s.WriteMemories(f.ctx, &store.MemoryWrite{
			Project: "p", Space: alice, Add: []memory.Record{r}, Supersede: []store.Supersession{{ID: b.ID, By: r.ID, At: at(5)}},
		})
	})
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, store.ErrConflict) {
			f.Errorf("supersede: %v, want ErrConflict", err)
		}
	}
	if sp, _ := f.changes("p", 0, 1); won != 1 || sp.Records != 3 || sp.Change != 4 {
		f.Errorf("%d writers superseded one record; the space is %+v", won, sp)
	}
}

func testMemoryVectors(f *fixture) {
	list := f.remember(fact("p", alice, "a"), fact("p", alice, "b"), fact("p", alice, "c"))
	f.writeMemories(&store.MemoryWrite{
		Project: "p", Space: alice,
		Vectors: []store.MemoryVector{{Num: 3, Vector: []byte("three"), Model: "m"}, {Num: 1, Vector: []byte("one"), Model: "n"}, {Num: 99, Vector: []byte("none"), Model: "m"}},
	})
	list[0].Vector, list[0].VectorModel = []byte("one"), "n"
	list[2].Vector, list[2].VectorModel = []byte("three"), "m"
	list[0].Change, list[2].Change = 5, 4
	sp, got := f.changes("p", 3, 10)
	f.same("changes", got, []memory.Record{list[2], list[0]})
	f.same("space", sp, store.MemorySpace{Project: "p", Name: alice, Change: 5, Records: 3})
	f.writeMemories(&store.MemoryWrite{Project: "p", Space: alice, Vectors: []store.MemoryVector{{Num: 1, Vector: []byte("new"), Model: "m"}}})
	list[0].Vector, list[0].VectorModel, list[0].Change = []byte("new"), "m", 6
	_, got = f.changes("p", 5, 10)
	f.same("changes", got, list[:1])
}

func testMemoryRefused(f *fixture) {
	for name, spoil := range map[string]func(w *store.MemoryWrite){
		"no project":      func(w *store.MemoryWrite) { w.Project = "" },
		"no space":        func(w *store.MemoryWrite) { w.Space = "/actors/alice/facts" },
		"other namespace": func(w *store.MemoryWrite) { w.Add[0].Namespace = "/actors/alicex" },
		"rough namespace": func(w *store.MemoryWrite) { w.Add[0].Namespace += "/" },
		"other id":        func(w *store.MemoryWrite) { w.Add[0].ID = "mem_1" },
		"other shard":     func(w *store.MemoryWrite) { w.Add[0].ID = memory.ID("p", "/actors/bob", "a") },
		"strategy":        func(w *store.MemoryWrite) { w.Add[0].Strategy = "guess" },
		"origin":          func(w *store.MemoryWrite) { w.Add[0].Origin = "" },
		"no time":         func(w *store.MemoryWrite) { w.Add[0].RecordedAt = time.Time{} },
		"confidence":      func(w *store.MemoryWrite) { w.Add[0].Confidence = 1.5 },
		"no model":        func(w *store.MemoryWrite) { w.Add[0].Vector = []byte{1} },
		"NUL":             func(w *store.MemoryWrite) { w.Add[0].Text = "a\x00b" },
		"not UTF-8":       func(w *store.MemoryWrite) { w.Add[0].Metadata = map[string]string{"a": "\xff"} },
		"superseded by":   func(w *store.MemoryWrite) { w.Supersede = []store.Supersession{{ID: w.Add[0].ID, At: at(1)}} },
		"by itself": func(w *store.MemoryWrite) {
			w.Supersede = []store.Supersession{{ID: w.Add[0].ID, By: w.Add[0].ID, At: at(1)}}
		},
		"no vector": func(w *store.MemoryWrite) { w.Vectors = []store.MemoryVector{{Num: 1, Model: "m"}} },
		"two vectors": func(w *store.MemoryWrite) {
			w.Vectors = slices.Repeat([]store.MemoryVector{{Num: 1, Vector: []byte{1}, Model: "m"}}, 2)
		},
	} {
		w := &store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{fact("p", alice, "a")}}
		spoil(w)
		_, err := f.s.WriteMemories(f.ctx, w)
		if err == nil {
			f.Errorf("%s: a write that is wrong was taken", name)
		}
		for _, kind := range []error{store.ErrUnavailable, store.ErrFull, store.ErrConflict, store.ErrNotFound, store.ErrCorrupt} {
			if errors.Is(err, kind) {
				f.Errorf("%s: %v, want an error of its own", name, err)
			}
		}
	}
	if sp, _ := f.changes("p", 0, 1); sp != (store.MemorySpace{}) {
		f.Errorf("space: %+v, want none", sp)
	}
	if _, err := f.s.ListMemories(f.ctx, store.MemoryQuery{Project: "p", Namespace: "/a//b", Limit: 1}); err == nil {
		f.Error("a namespace that is none was listed")
	}
	if _, err := f.s.ListMemories(f.ctx, store.MemoryQuery{Project: "p", Strategies: []memory.Strategy{"guess"}, Limit: 1}); err == nil {
		f.Error("a strategy that is none was listed")
	}
}

// testMemoryReadYourWrites reads each record at once by every way, from another
// node too.
func testMemoryReadYourWrites(f *fixture) {
	other := f.reopen()
	together(8, func(i int) {
		space := fmt.Sprintf("/actors/%d", i%4)
		for j := range 25 {
			r := fact("p", space, fmt.Sprintf("%d by %d", j, i))
			w, err := f.s.WriteMemories(f.ctx, &store.MemoryWrite{Project: "p", Space: space, Add: []memory.Record{r}})
			if err != nil {
				f.Errorf("write: %v", err)
				return
			}
			for _, s := range []store.Store{f.s, other} {
				f.finds(s, w.Records[0])
			}
		}
	})
}

func (f *fixture) finds(s store.Store, want memory.Record) {
	if got, err := s.Memory(f.ctx, "p", want.ID); err != nil || got.Num != want.Num {
		f.Errorf("record %d, just written: %d, %v", want.Num, got.Num, err)
	}
	if got, err := s.MemoriesByNum(f.ctx, "p", want.Space, []int64{want.Num}); err != nil || len(got) != 1 || got[0].ID != want.ID {
		f.Errorf("record %d by number: %d records, %v", want.Num, len(got), err)
	}
	if sp, got, err := s.MemoryChanges(f.ctx, "p", want.Space, want.Change-1, 1); err != nil || len(got) != 1 || got[0].ID != want.ID || sp.Change < want.Change {
		f.Errorf("record %d as a change: %d records, %v", want.Num, len(got), err)
	}
}

// testMemoryFollowing follows the changes of a space while many write it: each
// is seen once, and none is missed.
func testMemoryFollowing(f *fixture) {
	other := f.reopen()
	const writers, each = 8, 20
	var seen [2]map[string]int
	var readers sync.WaitGroup
	for i, s := range []store.Store{f.s, other} {
		seen[i] = make(map[string]int)
		readers.Go(func() { f.follow(s, writers*each, seen[i]) })
	}
	together(writers, func(i int) {
		s := []store.Store{f.s, other}[i%2]
		for j := range each {
			r := fact("p", alice, fmt.Sprintf("%d by %d", j, i))
			if _, err := s.WriteMemories(f.ctx, &store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{r}}); err != nil {
				f.Errorf("write: %v", err)
			}
		}
	})
	readers.Wait()
	for _, m := range seen {
		if counts := slices.Collect(maps.Values(m)); len(counts) != writers*each || slices.Max(counts) != 1 {
			f.Errorf("%d records were seen, at most %d times, want %d once", len(counts), slices.Max(counts), writers*each)
		}
	}
}

// follow reads changes until there were n.
func (f *fixture) follow(s store.Store, n int, seen map[string]int) {
	var after int64
	for deadline := time.Now().Add(time.Minute); after < int64(n); {
		sp, list, err := s.MemoryChanges(f.ctx, "p", alice, after, 7)
		if err != nil || f.Failed() || time.Now().After(deadline) {
			f.Errorf("follow after %d: %v", after, err)
			return
		}
		for _, r := range list {
			if r.Change != after+1 || r.Num != r.Change || sp.Change < r.Change {
				f.Errorf("change %d of record %d follows change %d; the space has %d", r.Change, r.Num, after, sp.Change)
				return
			}
			after = r.Change
			seen[r.ID]++
		}
	}
}

// testMemoryOneOfManyAdds lets many write the same records at once: one of them
// does.
func testMemoryOneOfManyAdds(f *fixture) {
	other := f.reopen()
	fresh := make([]int, 8)
	together(len(fresh), func(i int) {
		for j := range 10 {
			w := &store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{fact("p", alice, strconv.Itoa(j))}}
			got, err := []store.Store{f.s, other}[i%2].WriteMemories(f.ctx, w)
			if err != nil {
				f.Errorf("write: %v", err)
				return
			}
			if got.Repeated == nil {
				fresh[i]++
			}
		}
	})
	total := 0
	for _, n := range fresh {
		total += n
	}
	if sp, list := f.changes("p", 0, 100); total != 10 || sp.Records != 10 || len(list) != 10 {
		f.Errorf("%d writes were new; the space is %+v with %d records", total, sp, len(list))
	}
}
