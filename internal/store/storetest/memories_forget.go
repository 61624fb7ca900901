package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

func testMemoryForget(f *fixture) {
	list := f.remember(fact("p", alice, "1"), fact("p", alice, "2"), fact("p", alice, "3"))
	bob := f.remember(fact("p", "/actors/bob", "1"))[0]
	f.putSegment(alice, 1, 3, []byte("piece"))
	f.putSegment("/actors/bob", 1, 1, []byte("piece of bob"))

	n, err := f.s.ForgetMemories(f.ctx, "p", alice, []int64{3, 1, 3, 9, 0, -1})
	if err != nil || n != 2 {
		f.Errorf("forget: %d, %v; want 2", n, err)
	}
	for _, s := range []store.Store{f.s, f.reopen()} {
		for i, r := range list {
			_, err := s.Memory(f.ctx, "p", r.ID)
			if gone := errors.Is(err, store.ErrNotFound); gone != (i != 1) || !gone && err != nil {
				f.Errorf("record %d after the others were forgotten: %v", r.Num, err)
			}
		}
		if got, err := s.MemoriesByNum(f.ctx, "p", alice, []int64{1, 2, 3}); err != nil || len(got) != 1 || got[0].Num != 2 {
			f.Errorf("by number: %d records, %v", len(got), err)
		}
		sp, changed, err := s.MemoryChanges(f.ctx, "p", alice, 0, 10)
		if err != nil {
			f.Fatalf("changes: %v", err)
		}
		f.same("changes", changed, list[1:2])
		f.same("space", sp, store.MemorySpace{Project: "p", Name: alice, Change: 3, Epoch: 1, Records: 1})
	}
	f.segments(alice)
	f.segments("/actors/bob", store.Segment{From: 1, To: 1, Size: 12})
	f.same("record of another space", f.memory("p", bob.ID), bob)

	// Numbers are not given again, and a forgotten record can come anew.
	again := f.remember(fact("p", alice, "3"))[0]
	if again.Num != 4 || again.Change != 4 {
		f.Errorf("the next record has number %d and change %d, want 4", again.Num, again.Change)
	}
	if n, err := f.s.ForgetMemories(f.ctx, "p", alice, []int64{1, 3}); err != nil || n != 0 {
		f.Errorf("forget again: %d, %v; want 0", n, err)
	}
	if n, err := f.s.ForgetMemories(f.ctx, "p", alice, nil); err != nil || n != 0 {
		f.Errorf("forget nothing: %d, %v; want 0", n, err)
	}
	if sp, _ := f.changes("p", 0, 1); sp.Epoch != 3 || sp.Records != 2 {
		f.Errorf("space: %+v, want epoch 3 and 2 records", sp)
	}
	err = f.s.PutSegment(f.ctx, "p", alice, 1, store.Segment{From: 1, To: 4, Size: 1}, []byte{1})
	if !errors.Is(err, store.ErrConflict) {
		f.Errorf("segment of an old epoch: %v, want ErrConflict", err)
	}
}

// testMemoryForgetNames forgets records whose actors and sessions others have
// still.
func testMemoryForgetNames(f *fixture) {
	var records []memory.Record
	for i := range 12 {
		r := fact("p", alice, fmt.Sprintf("%02d", i))
		r.RecordedAt, r.Actor, r.Source.SessionID = at(i), fmt.Sprintf("name %d", i%3), fmt.Sprintf("name %d", i%4)
		records = append(records, r)
	}
	f.remember(records...)
	for i := range 6 {
		if n, err := f.s.ForgetMemories(f.ctx, "p", alice, []int64{int64(i + 1)}); n != 1 || err != nil {
			f.Errorf("forget: %d, %v", n, err)
		}
	}
	f.listMemories(store.MemoryQuery{Actor: "name 0", Asc: true}, "06", "09")
	f.listMemories(store.MemoryQuery{SessionID: "name 3", Asc: true}, "07", "11")
	if _, err := f.s.ForgetMemories(f.ctx, "p", alice, []int64{8, 12}); err != nil {
		f.Errorf("forget: %v", err)
	}
	f.listMemories(store.MemoryQuery{SessionID: "name 3", Asc: true})
	f.remember(records[7])
	f.listMemories(store.MemoryQuery{SessionID: "name 3", Asc: true}, "07")
	f.listMemories(store.MemoryQuery{Actor: "name 1", Asc: true}, "07", "10")
}

func (f *fixture) putSegment(space string, from, to int64, data []byte) {
	f.Helper()
	if err := f.s.PutSegment(f.ctx, "p", space, 0, store.Segment{From: from, To: to, Size: int64(len(data))}, data); err != nil {
		f.Fatalf("put segment %d to %d: %v", from, to, err)
	}
}

func (f *fixture) segments(space string, want ...store.Segment) {
	f.Helper()
	got, err := f.s.Segments(f.ctx, "p", space)
	if err != nil {
		f.Fatalf("segments: %v", err)
	}
	f.same("segments of "+space, got, want)
}

func (f *fixture) segment(s store.Store, g store.Segment, want []byte) {
	f.Helper()
	data, err := s.SegmentData(f.ctx, "p", alice, g)
	if err != nil || !bytes.Equal(data, want) {
		f.Errorf("segment %d to %d has %d bytes, %v; want the %d that were put", g.From, g.To, len(data), err, len(want))
	}
}

func testSegments(f *fixture) {
	f.remember(fact("p", alice, "1"))
	f.segments(alice)
	f.segments("/actors/none")
	for i := range 5 {
		from := int64(i*10 + 1)
		f.putSegment(alice, from, from+9, fmt.Appendf(nil, "piece %d", i))
	}
	f.putSegment(alice, 60, 60, nil)
	f.segments(alice, store.Segment{From: 1, To: 10, Size: 7}, store.Segment{From: 11, To: 20, Size: 7}, store.Segment{From: 21, To: 30, Size: 7},
		store.Segment{From: 31, To: 40, Size: 7}, store.Segment{From: 41, To: 50, Size: 7}, store.Segment{From: 60, To: 60})
	f.segment(f.s, store.Segment{From: 60, To: 60}, nil)
	f.segment(f.s, store.Segment{From: 21, To: 30, Size: 7}, []byte("piece 2"))

	// Three become one, and one is put again.
	f.putSegment(alice, 11, 40, []byte("merged"))
	f.putSegment(alice, 41, 50, []byte("another 4"))
	want := []store.Segment{{From: 1, To: 10, Size: 7}, {From: 11, To: 40, Size: 6}, {From: 41, To: 50, Size: 9}, {From: 60, To: 60}}
	f.segments(alice, want...)
	for _, s := range []store.Store{f.s, f.reopen()} {
		f.segment(s, want[0], []byte("piece 0"))
		f.segment(s, want[1], []byte("merged"))
		f.segment(s, want[2], []byte("another 4"))
	}
	for _, g := range []store.Segment{{From: 11, To: 20, Size: 7}, {From: 41, To: 50, Size: 7}, {From: 70, To: 80, Size: 1}} {
		if _, err := f.s.SegmentData(f.ctx, "p", alice, g); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("segment that was replaced: %v, want ErrNotFound", err)
		}
		if _, err := f.s.SegmentData(f.ctx, "q", alice, want[0]); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("segment of another project: %v, want ErrNotFound", err)
		}
	}
}

func testSegmentConflicts(f *fixture) {
	f.remember(fact("p", alice, "1"))
	f.putSegment(alice, 10, 20, []byte("first"))
	f.putSegment(alice, 21, 30, []byte("second"))
	for _, c := range []struct {
		project, space  string
		epoch, from, to int64
	}{
		{"p", alice, 1, 40, 50},
		{"p", alice, -1, 40, 50},
		{"p", alice, 0, 15, 40},
		{"p", alice, 0, 1, 10},
		{"p", alice, 0, 12, 18},
		{"p", alice, 0, 10, 29},
		{"p", alice, 0, 25, 25},
		{"q", alice, 0, 1, 2},
		{"p", "/actors/none", 0, 1, 2},
	} {
		err := f.s.PutSegment(f.ctx, c.project, c.space, c.epoch, store.Segment{From: c.from, To: c.to, Size: 1}, []byte{1})
		if !errors.Is(err, store.ErrConflict) {
			f.Errorf("segment %+v: %v, want ErrConflict", c, err)
		}
	}
	for _, g := range []store.Segment{{From: 0, To: 1, Size: 1}, {From: 5, To: 4, Size: 1}, {From: 5, To: 5, Size: 2}, {From: 5, To: 1 << 40, Size: 1}} {
		if err := f.s.PutSegment(f.ctx, "p", alice, 0, g, []byte{1}); err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrUnavailable) {
			f.Errorf("segment %+v of one byte: %v, want an error of its own", g, err)
		}
	}
	f.segments(alice, store.Segment{From: 10, To: 20, Size: 5}, store.Segment{From: 21, To: 30, Size: 6})
	f.putSegment(alice, 1, 9, []byte("before"))
	f.putSegment(alice, 31, 31, []byte("after"))
}

// noiseBytes returns n bytes that do not repeat.
func noiseBytes(n int, seed string) []byte {
	b := make([]byte, 0, n+sha256.Size)
	for sum := sha256.Sum256([]byte(seed)); len(b) < n; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func testLargeSegments(f *fixture) {
	f.remember(fact("p", alice, "1"))
	const part = 1 << 20
	for i, n := range []int{part - 1, part, part + 1, 5*part + 12345} {
		data := noiseBytes(n, strconv.Itoa(i))
		f.putSegment(alice, 1, 100, data)
		g := store.Segment{From: 1, To: 100, Size: int64(n)}
		f.segments(alice, g)
		f.segment(f.s, g, data)
	}
	if _, err := f.s.ForgetMemories(f.ctx, "p", alice, nil); err != nil {
		f.Fatalf("forget: %v", err)
	}
	f.segments(alice)
}

// testSegmentsTogether lets many put the same range with other data: a reader
// gets the data of one of them, whole, or none.
func testSegmentsTogether(f *fixture) {
	f.remember(fact("p", alice, "1"))
	other := f.reopen()
	together(6, func(i int) {
		s := []store.Store{f.s, other}[i%2]
		for j := range 5 {
			n := 1<<20 + i*5 + j
			g := store.Segment{From: 1, To: 100, Size: int64(n)}
			if err := s.PutSegment(f.ctx, "p", alice, 0, g, bytes.Repeat([]byte{byte(i)}, n)); err != nil {
				f.Errorf("put: %v", err)
				return
			}
			list, err := s.Segments(f.ctx, "p", alice)
			if err != nil || len(list) != 1 {
				f.Errorf("%d segments, %v; want 1", len(list), err)
				return
			}
			data, err := s.SegmentData(f.ctx, "p", alice, list[0])
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil || int64(len(data)) != list[0].Size || len(bytes.Trim(data, string(data[:1]))) != 0 {
				f.Errorf("segment of %d bytes has %d, %v", list[0].Size, len(data), err)
			}
		}
	})
}
