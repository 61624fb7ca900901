package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

var logCases = []testCase{
	{"RoundTrip", testRoundTrip},
	{"EveryKind", testEveryKind},
	{"Pages", testReadPages},
	{"UnknownSession", testReadUnknown},
	{"OtherProject", testLogOtherProject},
	{"Conflict", testConflict},
	{"Atomic", testAtomic},
	{"Malformed", testMalformed},
	{"OddIDs", testOddIDs},
	{"Erase", testErase},
	{"EraseInBatch", testEraseInBatch},
}

func testRoundTrip(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `{"a": 1,  "b":[2]}`)
	f.append(l, `{"z":1,"a":2}`, `"ü € 𝄞"`, `null`)
	f.append(l, text(store.BlobThreshold, "x"))
	f.append(l, text(store.BlobThreshold+1, "x"), text(100_000, "y"))
	f.check(f.s, l)

	got, err := f.s.Read(f.ctx, "p", "s", 1, 1)
	if err != nil || len(got) != 1 {
		f.Fatalf("read after 1: %d records, %v", len(got), err)
	}
	want := time.Date(2026, 3, 1, 12, 0, 0, 123_458_000, time.UTC)
	if r := got[0]; !r.Time.Equal(want) || r.Time.Location() != time.UTC || r.Seq != 2 || r.Session != "s" {
		f.Errorf("record 2 is %d of %q at %v, want %v", r.Seq, r.Session, r.Time, want)
	}
}

func testEveryKind(f *fixture) {
	l := f.log("p", "s")
	var prev event.Hash
	a := &store.Append{Project: "p", Session: "s", Epoch: l.epoch}
	for i, k := range []event.Kind{
		event.KindSessionCreated, event.KindSessionUpdated, event.KindSessionDeleted, event.KindTurnCreated,
		event.KindTurnCancelRequested, event.KindTurnEnded, event.KindToolsListed, event.KindEnvironmentChanged,
		event.KindModelResponded, event.KindContextCompacted, event.KindToolResult, event.KindEffectStarted,
		event.KindEffectFailed, event.KindEffectFinished, event.KindEffectUnknown, event.KindEffectResolved,
		"a.kind.of.a.later.version",
	} {
		r := event.Record{
			Session: "s", Seq: int64(i + 1), Time: start.Add(time.Duration(i) * time.Hour), Kind: k,
			Version: i + 1, Data: []byte("{}"), Salt: slices.Repeat([]byte{byte(i)}, event.SaltSize),
		}
		r.Seal(prev)
		prev = r.Hash
		a.Records = append(a.Records, r)
	}
	f.mustAppend(l, a)
	f.check(f.s, l)
}

func testReadPages(f *fixture) {
	l := f.log("p", "s")
	for i := range 10 {
		f.append(l, strconv.Itoa(i), text(5000, strconv.Itoa(i)))
	}
	for _, c := range []struct {
		after      int64
		limit      int
		first, end int // of the records that are expected
	}{
		{0, 5, 0, 5}, {5, 5, 5, 10}, {18, 5, 18, 20}, {20, 5, 0, 0}, {99, 5, 0, 0}, {0, 1000, 0, 20}, {0, 0, 0, 0},
	} {
		got, err := f.s.Read(f.ctx, "p", "s", c.after, c.limit)
		if err != nil {
			f.Fatalf("read after %d, limit %d: %v", c.after, c.limit, err)
		}
		f.same(fmt.Sprintf("read after %d, limit %d", c.after, c.limit), got, l.records[c.first:c.end])
	}
}

func testReadUnknown(f *fixture) {
	got, err := f.s.Read(f.ctx, "p", "nobody", 0, 10)
	if err != nil || len(got) != 0 {
		f.Errorf("read of no session: %d records, %v", len(got), err)
	}
	if _, err := f.s.Session(f.ctx, "p", "nobody"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("row of no session: %v, want ErrNotFound", err)
	}
}

func testLogOtherProject(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`, `2`)
	got, err := f.s.Read(f.ctx, "q", "s", 0, 10)
	if err != nil || len(got) != 0 {
		f.Errorf("read through another project: %d records, %v", len(got), err)
	}
	a := l.next(`3`)
	a.Project = "q"
	if err := f.s.Append(f.ctx, a); !errors.Is(err, store.ErrConflict) {
		f.Errorf("append through another project: %v, want ErrConflict", err)
	}
	a = l.next(`3`)
	a.Project, a.Erase = "q", true
	if err := f.s.Append(f.ctx, a); !errors.Is(err, store.ErrConflict) {
		f.Errorf("erase through another project: %v, want ErrConflict", err)
	}
	f.check(f.s, l)
}

func testConflict(f *fixture) {
	l := f.log("p", "s")
	never := l.next(`1`, `2`)
	never.Records = never.Records[1:]
	if err := f.s.Append(f.ctx, never); !errors.Is(err, store.ErrConflict) {
		f.Errorf("first record is 2: %v, want ErrConflict", err)
	}
	first := l.next(`1`, `2`, `3`)
	f.mustAppend(l, first)

	if err := f.s.Append(f.ctx, first); !errors.Is(err, store.ErrConflict) {
		f.Errorf("same append again: %v, want ErrConflict", err)
	}
	ahead := l.next(`4`, `5`, `6`)
	for _, c := range []struct {
		name    string
		records []event.Record
	}{
		{"new session exists", first.Records[:1]},
		{"last record again", first.Records[2:]},
		{"overlaps the head", append(slices.Clone(first.Records[2:]), ahead.Records[0])},
		{"one too high", ahead.Records[1:]},
		{"two too high", ahead.Records[2:]},
	} {
		a := &store.Append{Project: "p", Session: "s", Epoch: l.epoch, Records: c.records, Erase: true, Index: &store.Index{
			Project: "p", Session: "s", Status: "wrong", CreatedAt: start, UpdatedAt: start,
		}}
		if err := f.s.Append(f.ctx, a); !errors.Is(err, store.ErrConflict) {
			f.Errorf("%s: %v, want ErrConflict", c.name, err)
		}
	}
	if _, err := f.s.Session(f.ctx, "p", "s"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("a refused append left an index row: %v", err)
	}
	f.check(f.s, l)
	f.append(l, `4`)
	f.check(f.s, l)
}

func testAtomic(f *fixture) {
	l := f.log("p", "s")
	a := l.next(`1`, text(9000, "big"), `3`)
	a.Epoch++
	a.Index = &store.Index{Project: "p", Session: "s", Status: "idle", CreatedAt: start, UpdatedAt: start}
	if err := f.s.Append(f.ctx, a); !errors.Is(err, store.ErrFenced) {
		f.Fatalf("append under a wrong epoch: %v, want ErrFenced", err)
	}
	f.check(f.s, l)
	if _, err := f.s.Session(f.ctx, "p", "s"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("the index row of a refused append: %v, want ErrNotFound", err)
	}
	u, err := f.s.Usage(f.ctx)
	if err != nil || u.Records != 0 {
		f.Errorf("usage after a refused append: %+v, %v", u, err)
	}
	a.Epoch--
	f.mustAppend(l, a)
	f.check(f.s, l)
}

// testMalformed gives appends that no correct caller makes. Which error they
// get is not said, but nothing may be written.
func testMalformed(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`)
	three := l.next(`2`, `3`, `4`).Records
	other := f.log("p", "other").next(`1`).Records
	for name, records := range map[string][]event.Record{
		"no records":        nil,
		"gap":               {three[0], three[2]},
		"repeated":          {three[0], three[0]},
		"descending":        {three[1], three[0]},
		"another session's": other,
		"session changes":   {three[0], func() event.Record { r := three[1]; r.Session = "x"; return r }()},
	} {
		err := f.s.Append(f.ctx, &store.Append{Project: "p", Session: "s", Epoch: l.epoch, Records: records})
		if err == nil {
			f.Errorf("%s: the append was taken", name)
		}
	}
	row := &store.Index{Project: "p", Session: "other", CreatedAt: start, UpdatedAt: start}
	if err := f.s.Append(f.ctx, &store.Append{Project: "p", Session: "s", Epoch: l.epoch, Records: three, Index: row}); err == nil {
		f.Error("the index row of another session was taken")
	}
	f.check(f.s, l)
}

func testOddIDs(f *fixture) {
	var logs []*log
	for _, id := range []string{"s", "S", "s ", "ß", "ss", `'; DROP TABLE records; --`, "%", "_", `a"b`, "e\u0301", "\u00e9", "1", "01"} {
		l := f.log("p", id)
		f.append(l, `"of `+id+`"`)
		logs = append(logs, l)
	}
	for _, l := range logs {
		f.append(l, `2`)
	}
	for _, l := range logs {
		f.check(f.s, l)
	}
}

func testErase(f *fixture) {
	l, other := f.log("p", "s"), f.log("p", "t")
	f.append(l, `"secret"`, text(6000, "secret"), `3`)
	f.append(other, `"kept"`, text(6000, "kept"))

	a := l.next(`{"class":"session"}`)
	a.Erase = true
	f.mustAppend(l, a)

	got, err := f.s.Read(f.ctx, "p", "s", 0, 10)
	if err != nil || len(got) != 4 {
		f.Fatalf("read: %d records, %v", len(got), err)
	}
	for _, r := range got[:3] {
		if !r.Erased() || r.Data != nil || r.Digest.IsZero() || r.Hash.IsZero() {
			f.Errorf("record %d: erased %v, %d bytes of data, digest %v", r.Seq, r.Erased(), len(r.Data), r.Digest)
		}
	}
	if got[3].Erased() {
		f.Error("the tombstone itself was erased")
	}
	f.check(f.s, l)
	f.check(f.s, other)

	f.append(l, `"later"`)
	f.check(f.s, l)
	a = l.next(`"again"`)
	a.Erase = true
	f.mustAppend(l, a)
	f.check(f.s, l)
	f.check(f.reopen(), l)
}

// testEraseInBatch erases with an append of several records, none of which may
// be erased.
func testEraseInBatch(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`, `2`)
	a := l.next(`3`, text(7000, "b"), `5`)
	a.Erase = true
	f.mustAppend(l, a)
	f.check(f.s, l)

	first := f.log("p", "new")
	a = first.next(`1`, `2`)
	a.Erase = true
	f.mustAppend(first, a)
	f.check(f.s, first)
}
