package snapshot_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/blob/folder"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// benchFiles and benchSize make 100 MiB in 20 folders.
const (
	benchFiles = 1000
	benchSize  = 100 << 20 / benchFiles
)

// eachStore runs a benchmark with the stores that one machine has by itself.
func eachStore(b *testing.B, run func(b *testing.B, open func() blob.Store)) {
	b.Helper()
	b.Run("Folder", func(b *testing.B) {
		run(b, func() blob.Store {
			s, err := folder.Open(filepath.Join(b.TempDir(), "blobs"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { must(b, s.Close()) })
			return s
		})
	})
	b.Run("SQLite", func(b *testing.B) {
		run(b, func() blob.Store {
			s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "stayd.db"), sqlite.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { must(b, s.Close()) })
			return s.Blobs()
		})
	})
}

func benchTree(b *testing.B, store blob.Store) (*snapshot.Tree, string, *snapshot.Folder, snapshot.Root) {
	b.Helper()
	tree := snapshot.New(store, project)
	dir := filepath.Join(b.TempDir(), "workspace")
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, benchSize)
	for i := range benchFiles {
		if _, err := random.Read(data); err != nil {
			b.Fatal(err)
		}
		write(b, filepath.Join(dir, fmt.Sprint("folder", i%20), fmt.Sprint("file", i)), data)
	}
	f := openFolder(b, tree, dir)
	root := capture(b, f).Root
	waitOut(b, f)
	return tree, dir, f, root
}

// waitOut waits until no file is so new that it has to be read again.
func waitOut(b *testing.B, f *snapshot.Folder) {
	b.Helper()
	<-time.After(100 * time.Millisecond)
	capture(b, f)
}

// BenchmarkRestore restores 100 MiB of 1,000 files into an empty folder, which is
// also what a fork costs on another machine that has the blobs.
func BenchmarkRestore(b *testing.B) {
	eachStore(b, func(b *testing.B, open func() blob.Store) {
		tree, _, _, root := benchTree(b, open())
		base := b.TempDir()
		b.SetBytes(benchFiles * benchSize)
		n := 0
		for b.Loop() {
			n++
			// A folder of its own each time: ext4 looks long for an inode that was
			// not deleted in the last minute.
			restore(b, openFolder(b, tree, filepath.Join(base, strconv.Itoa(n))), root)
		}
	})
}

// BenchmarkCopy is the machine's own limit for BenchmarkRestore: two programs that
// copy the same files, without a look at what is in them.
func BenchmarkCopy(b *testing.B) {
	eachStore(b, func(b *testing.B, open func() blob.Store) {
		_, dir, _, _ := benchTree(b, open())
		base := b.TempDir()
		b.SetBytes(benchFiles * benchSize)
		n := 0
		for b.Loop() {
			n++
			to := filepath.Join(base, strconv.Itoa(n))
			for i := range 20 {
				must(b, os.MkdirAll(filepath.Join(to, fmt.Sprint("folder", i)), 0o755))
			}
			var wg sync.WaitGroup
			for w := range 2 {
				wg.Go(func() {
					for i := w; i < benchFiles; i += 2 {
						name := filepath.Join(fmt.Sprint("folder", i%20), fmt.Sprint("file", i))
						data, err := os.ReadFile(filepath.Join(dir, name))
						if err == nil {
							err = os.WriteFile(filepath.Join(to, name), data, 0o644)
						}
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}
	})
}

func BenchmarkRestoreEqual(b *testing.B) {
	eachStore(b, func(b *testing.B, open func() blob.Store) {
		_, _, f, root := benchTree(b, open())
		for b.Loop() {
			restore(b, f, root)
		}
	})
}

// BenchmarkRestoreWithoutIndex compares all of the content.
func BenchmarkRestoreWithoutIndex(b *testing.B) {
	eachStore(b, func(b *testing.B, open func() blob.Store) {
		tree, dir, _, root := benchTree(b, open())
		b.SetBytes(benchFiles * benchSize)
		for b.Loop() {
			must(b, os.Remove(dir+".index"))
			restore(b, openFolder(b, tree, dir), root)
		}
	})
}

// BenchmarkCaptureOneChanged has the durable Put of three blobs in it; with
// Memory there is none.
func BenchmarkCaptureOneChanged(b *testing.B) {
	run := func(b *testing.B, open func() blob.Store) {
		_, dir, f, _ := benchTree(b, open())
		path := filepath.Join(dir, "folder3", "file3")
		n := 0
		for b.Loop() {
			n++
			b.StopTimer()
			must(b, os.WriteFile(path, fmt.Append(nil, n), 0o644))
			b.StartTimer()
			if s := capture(b, f); len(s.Changed) != 1 {
				b.Fatalf("%d files changed", len(s.Changed))
			}
		}
	}
	eachStore(b, run)
	b.Run("Memory", func(b *testing.B) { run(b, func() blob.Store { return blobtest.NewMemory() }) })
}

func BenchmarkCaptureFirst(b *testing.B) {
	eachStore(b, func(b *testing.B, open func() blob.Store) {
		_, dir, _, _ := benchTree(b, open())
		b.SetBytes(benchFiles * benchSize)
		for b.Loop() {
			b.StopTimer()
			must(b, os.Remove(dir+".index"))
			f := openFolder(b, snapshot.New(open(), project), dir)
			b.StartTimer()
			capture(b, f)
		}
	})
}
