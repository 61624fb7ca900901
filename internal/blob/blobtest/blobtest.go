// Package blobtest is the suite that every store of blobs passes whole. It owns
// what the contract in package blob means in detail; it may not know any
// implementation, nor ask one for anything that is not in the contract.
package blobtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// coarse is the coarsest clock by which a store may remember when a blob was put.
const coarse = time.Second

// Run exercises the whole contract. Open returns a fresh, empty store, which the
// suite closes.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	t.Helper()
	for name, run := range map[string]func(*testing.T, blob.Store){
		"PutGet":        putGet,
		"Sizes":         sizes,
		"Buffer":        buffer,
		"NotFound":      notFound,
		"Repeated":      repeated,
		"Projects":      projects,
		"ProjectsApart": projectsApart,
		"Sweep":         sweep,
		"SweepGrace":    sweepGrace,
		"Touch":         touch,
		"SweepRace":     sweepRace,
		"Concurrent":    concurrent,
		"Canceled":      canceled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newStore(t, open))
		})
	}
}

// RunCorrupt exercises what becomes of a blob that was damaged where it lies.
// Open returns a fresh, empty store and what replaces the kept form of a blob.
func RunCorrupt(t *testing.T, open func(t *testing.T) (s blob.Store, replace func(project string, name event.Hash, kept []byte))) {
	t.Helper()
	for name, kept := range map[string][]byte{
		"Empty":     {},
		"Form":      []byte("\xff something"),
		"Truncated": []byte("\x00not what was pu"),
		"Frame":     []byte("\x01\x28\xb5\x2f\xfd"),
	} {
		t.Run(name, func(t *testing.T) {
			s, replace := open(t)
			closeAfter(t, s)
			b := Make([]byte("not what was put"))
			put(t, s, "p", b)
			replace("p", b.Name, kept)
			if got, err := s.Get(t.Context(), "p", b.Name, make([]byte, 100)); !errors.Is(err, blob.ErrCorrupt) || got != nil {
				t.Errorf("Get of a damaged blob: %q, %v, want ErrCorrupt", got, err)
			}
		})
	}
}

// Make names data.
func Make(data []byte) blob.Blob { return blob.Blob{Name: blob.Name(data), Data: data} }

func newStore(t *testing.T, open func(t *testing.T) blob.Store) blob.Store {
	t.Helper()
	s := open(t)
	closeAfter(t, s)
	return s
}

func closeAfter(t *testing.T, s blob.Store) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func put(t *testing.T, s blob.Store, project string, blobs ...blob.Blob) {
	t.Helper()
	if err := s.Put(t.Context(), project, blobs); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func wantBlobs(t *testing.T, s blob.Store, project string, blobs ...blob.Blob) {
	t.Helper()
	for _, b := range blobs {
		got, err := s.Get(t.Context(), project, b.Name, nil)
		if err != nil {
			t.Fatalf("Get of a blob of %d bytes: %v", len(b.Data), err)
		}
		if !bytes.Equal(got, b.Data) {
			t.Fatalf("Get of a blob of %d bytes: %d other bytes", len(b.Data), len(got))
		}
	}
}

func wantNone(t *testing.T, s blob.Store, project string, blobs ...blob.Blob) {
	t.Helper()
	for _, b := range blobs {
		got, err := s.Get(t.Context(), project, b.Name, nil)
		if !errors.Is(err, blob.ErrNotFound) || got != nil {
			t.Errorf("Get: %d bytes, %v, want ErrNotFound", len(got), err)
		}
	}
}

func wantSwept(t *testing.T, s blob.Store, project string, before time.Time, want int, keep ...blob.Blob) {
	t.Helper()
	n, err := s.Sweep(t.Context(), project, before, func(h event.Hash) bool {
		return slices.ContainsFunc(keep, func(b blob.Blob) bool { return b.Name == h })
	})
	if err != nil || n != want {
		t.Errorf("Sweep: %d, %v, want %d", n, err, want)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return b
}

func putGet(t *testing.T, s blob.Store) {
	hello, empty := Make([]byte("hello")), Make(nil)
	put(t, s, "p", hello, empty)
	wantBlobs(t, s, "p", hello, empty)
	put(t, s, "p")
}

func sizes(t *testing.T, s blob.Store) {
	var blobs []blob.Blob
	for _, n := range []int{1, 127, 128, 4096, 4097, 65536, 1 << 20, blob.MaxSize} {
		blobs = append(blobs, Make(random(n)), Make(bytes.Repeat([]byte("stayd "), n/6+1)[:n]), Make(make([]byte, n)))
	}
	put(t, s, "p", blobs...)
	wantBlobs(t, s, "p", blobs...)

	large := Make(make([]byte, blob.MaxSize+1))
	if err := s.Put(t.Context(), "p", []blob.Blob{large}); err == nil {
		t.Errorf("Put of %d bytes did not fail", len(large.Data))
	}
	wantNone(t, s, "p", large)
}

// buffer gets blobs into memory that has too much, just enough and too little
// room, and in which something else was.
func buffer(t *testing.T, s blob.Store) {
	blobs := []blob.Blob{Make(nil), Make([]byte("hello")), Make(random(5000)), Make(bytes.Repeat([]byte("stayd "), 20000)), Make(random(1 << 20))}
	put(t, s, "p", blobs...)
	for _, b := range blobs {
		for _, room := range []int{0, len(b.Data) / 2, len(b.Data), len(b.Data) + 1, 2*len(b.Data) + 100} {
			for _, used := range []int{0, room / 2, room} {
				buf := bytes.Repeat([]byte{0xa5}, room)[:used]
				got, err := s.Get(t.Context(), "p", b.Name, buf)
				if err != nil || !bytes.Equal(got, b.Data) {
					t.Errorf("Get of %d bytes where %d of %d are used: %d bytes, %v", len(b.Data), used, room, len(got), err)
				}
			}
		}
	}
	got, err := s.Get(t.Context(), "p", blob.Name([]byte("never put")), make([]byte, 100))
	if !errors.Is(err, blob.ErrNotFound) || got != nil {
		t.Errorf("Get of what is not there: %d bytes, %v, want ErrNotFound", len(got), err)
	}
}

func notFound(t *testing.T, s blob.Store) {
	b := Make([]byte("never put"))
	wantNone(t, s, "p", b, blob.Blob{})
	put(t, s, "p", Make([]byte("another")))
	wantNone(t, s, "p", b, blob.Blob{})
}

func repeated(t *testing.T, s blob.Store) {
	b, c := Make(random(1000)), Make(random(1000))
	put(t, s, "p", b, b, c, b)
	put(t, s, "p", c, b)
	wantBlobs(t, s, "p", b, c)
	wantSwept(t, s, "p", time.Now().Add(time.Hour), 2)
	wantNone(t, s, "p", b, c)
	put(t, s, "p", b)
	wantBlobs(t, s, "p", b)
}

func projects(t *testing.T, s blob.Store) {
	want := []string{"P", "a b/c?d*[e]", "proj_0123", "..", "ü%2F"}
	for _, p := range want {
		put(t, s, p, Make([]byte(p)))
	}
	got, err := s.Projects(t.Context())
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Projects: %q, %v, want %q", got, err, want)
	}
	for _, p := range want {
		wantBlobs(t, s, p, Make([]byte(p)))
	}
}

func projectsApart(t *testing.T, s blob.Store) {
	b := Make(random(5000))
	put(t, s, "one", b)
	wantNone(t, s, "two", b)
	put(t, s, "two", b)
	wantSwept(t, s, "one", time.Now().Add(time.Hour), 1)
	wantNone(t, s, "one", b)
	wantBlobs(t, s, "two", b)
}

func sweep(t *testing.T, s blob.Store) {
	var all, keep, drop []blob.Blob
	for i := range 300 {
		b := Make(fmt.Appendf(nil, "blob %d", i))
		all = append(all, b)
		if i%3 == 0 {
			keep = append(keep, b)
		} else {
			drop = append(drop, b)
		}
	}
	put(t, s, "p", all...)
	wantSwept(t, s, "p", time.Now().Add(time.Hour), len(drop), keep...)
	wantBlobs(t, s, "p", keep...)
	wantNone(t, s, "p", drop...)
	wantSwept(t, s, "p", time.Now().Add(time.Hour), 0, keep...)
	wantSwept(t, s, "no such project", time.Now().Add(time.Hour), 0)
}

func sweepGrace(t *testing.T, s blob.Store) {
	b := Make(random(100))
	put(t, s, "p", b)
	wantSwept(t, s, "p", time.Now().Add(-time.Hour), 0)
	wantBlobs(t, s, "p", b)
}

// touch needs time to pass, by a clock that may be coarse.
func touch(t *testing.T, s blob.Store) {
	old, touched := Make(random(100)), Make(random(100000))
	put(t, s, "p", old, touched)
	before := time.Now().Add(coarse)
	<-time.After(2 * coarse)
	put(t, s, "p", touched)
	wantSwept(t, s, "p", before, 1)
	wantNone(t, s, "p", old)
	wantBlobs(t, s, "p", touched)
}

// sweepRace puts blobs that are old while they are swept: whatever comes first,
// a blob whose Put began after the time of the sweep is there.
func sweepRace(t *testing.T, s blob.Store) {
	const n = 200
	var blobs []blob.Blob
	for i := range n {
		blobs = append(blobs, Make(fmt.Appendf(nil, "blob %d", i)))
	}
	put(t, s, "p", blobs...)
	before := time.Now().Add(coarse)
	<-time.After(2 * coarse)
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := w; i < n; i += 2 {
				if err := s.Put(t.Context(), "p", blobs[i:i+1]); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		wg.Go(func() {
			if _, err := s.Sweep(t.Context(), "p", before, func(event.Hash) bool { return false }); err != nil {
				t.Errorf("Sweep: %v", err)
			}
		})
	}
	wg.Wait()
	wantBlobs(t, s, "p", blobs...)
}

func concurrent(t *testing.T, s blob.Store) {
	shared := Make(random(30000))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				own := Make(fmt.Appendf(nil, "worker %d blob %d", w, i))
				if err := s.Put(t.Context(), "p", []blob.Blob{own, shared}); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				for _, b := range []blob.Blob{own, shared} {
					if got, err := s.Get(t.Context(), "p", b.Name, nil); err != nil || !bytes.Equal(got, b.Data) {
						t.Errorf("Get after Put: %d bytes, %v, want %d", len(got), err, len(b.Data))
					}
				}
			}
		})
	}
	wg.Wait()
}

func canceled(t *testing.T, s blob.Store) {
	ctx, cancel := contextCanceled(t)
	defer cancel()
	if err := s.Put(ctx, "p", []blob.Blob{Make([]byte("late"))}); !errors.Is(err, ctx.Err()) {
		t.Errorf("Put after the end of its context: %v", err)
	}
}
