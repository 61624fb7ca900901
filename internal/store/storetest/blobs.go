package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/store"
)

var blobCases = []testCase{
	{"StoredOnce", testBlobStoredOnce},
	{"OwnPerProject", testBlobOwnPerProject},
	{"Compressed", testBlobCompressed},
	{"Collect", testCollect},
	{"CollectShared", testCollectShared},
	{"CollectTwiceInOneSession", testCollectTwiceNamed},
	{"NamedAgain", testNamedAgain},
	{"RacesWithCollect", testRacesWithCollect},
}

func (f *fixture) blobs(want int64) {
	f.Helper()
	u, err := f.s.Usage(f.ctx)
	if err != nil || u.Blobs != want {
		f.Errorf("usage: %d blobs, %v; want %d", u.Blobs, err, want)
	}
}

func (f *fixture) collect(grace time.Duration, want int) {
	f.Helper()
	n, err := f.s.Collect(f.ctx, grace)
	if err != nil || n != want {
		f.Errorf("collect after %v: %d, %v; want %d", grace, n, err, want)
	}
}

func (f *fixture) erase(l *log) {
	f.Helper()
	a := l.next(`"tombstone"`)
	a.Erase = true
	f.mustAppend(l, a)
}

func testBlobStoredOnce(f *fixture) {
	l, m := f.log("p", "s"), f.log("p", "t")
	big := text(50_000, "same")
	f.append(l, big, big)
	f.append(l, big)
	f.append(m, big, text(50_000, "other"))
	f.append(m, text(store.BlobThreshold, "small"))
	f.blobs(2)
	f.check(f.s, l)
	f.check(f.s, m)
}

func testBlobOwnPerProject(f *fixture) {
	l, m := f.log("p", "s"), f.log("q", "t")
	big := text(50_000, "same")
	f.append(l, big)
	f.append(m, big)
	f.blobs(2)
	f.erase(l)
	f.collect(0, 1)
	f.blobs(1)
	f.check(f.s, l)
	f.check(f.s, m)
}

func testBlobCompressed(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`)
	before, err := f.s.Usage(f.ctx)
	if err != nil {
		f.Fatalf("usage: %v", err)
	}
	f.append(l, text(8<<20, "repeats"))
	after, err := f.s.Usage(f.ctx)
	if err != nil {
		f.Fatalf("usage: %v", err)
	}
	if grown := after.Bytes - before.Bytes; grown > 1<<20 {
		f.Errorf("8 MiB of repeated text take %d bytes", grown)
	}
	f.check(f.s, l)
}

func testCollect(f *fixture) {
	l := f.log("p", "s")
	f.append(l, text(10_000, "a"), text(10_000, "b"), `3`)
	f.collect(0, 0)
	f.blobs(2)
	f.erase(l)
	f.collect(time.Hour, 0)
	f.blobs(2)
	f.collect(0, 2)
	f.blobs(0)
	f.collect(0, 0)
	f.check(f.s, l)
}

func testCollectShared(f *fixture) {
	l, m := f.log("p", "s"), f.log("p", "t")
	big := text(10_000, "shared")
	f.append(l, big)
	f.append(m, big)
	f.erase(l)
	f.collect(0, 0)
	f.check(f.s, m)
	f.erase(m)
	f.collect(0, 1)
	f.blobs(0)
}

// testCollectTwiceNamed erases a blob's name from one session where it stands
// twice, and once more in the append that erases.
func testCollectTwiceNamed(f *fixture) {
	l := f.log("p", "s")
	big := text(10_000, "twice")
	f.append(l, big, big)
	a := l.next(`"tombstone"`, big)
	a.Erase = true
	f.mustAppend(l, a)
	f.collect(0, 0)
	f.check(f.s, l)
	f.erase(l)
	f.collect(0, 1)
	f.blobs(0)
}

func testNamedAgain(f *fixture) {
	l, m := f.log("p", "s"), f.log("p", "t")
	big := text(10_000, "again")
	f.append(l, big)
	f.erase(l)
	f.append(m, big)
	f.collect(0, 0)
	f.check(f.s, m)
	f.erase(m)
	f.collect(0, 1)
	f.append(m, big)
	f.blobs(1)
	f.check(f.s, m)
}

// testRacesWithCollect names, forgets and names again the same few blobs while
// a collector without grace runs all the time.
func testRacesWithCollect(f *fixture) {
	done := make(chan struct{})
	var collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := f.s.Collect(f.ctx, 0); err != nil {
				f.Errorf("collect: %v", err)
				return
			}
		}
	})
	logs := make([]*log, 8)
	together(len(logs), func(i int) {
		l := f.log("p", fmt.Sprintf("s%d", i))
		logs[i] = l
		for j := range 25 {
			a := l.next(text(6000, fmt.Sprintf("blob %d", (i+j)%3)))
			a.Erase = j%2 == 1
			if err := f.s.Append(f.ctx, a); err != nil {
				f.Errorf("append: %v", err)
				return
			}
			l.took(a)
			f.check(f.s, l)
		}
	})
	close(done)
	collector.Wait()
	for _, l := range logs {
		f.check(f.s, l)
		f.erase(l)
	}
	if _, err := f.s.Collect(f.ctx, 0); err != nil {
		f.Errorf("collect: %v", err)
	}
	f.blobs(0)
}
