package snapshot_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/folder"
	"github.com/stayd/stayd/internal/snapshot"
)

// benchFiles and benchSize make 100 MiB in 20 folders.
const (
	benchFiles = 1000
	benchSize  = 100 << 20 / benchFiles
)

func benchTree(b *testing.B) (*snapshot.Tree, string, *snapshot.Folder, snapshot.Root) {
	b.Helper()
	store, err := folder.Open(filepath.Join(b.TempDir(), "blobs"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	return benchTreeIn(b, store)
}

func benchTreeIn(b *testing.B, store blob.Store) (*snapshot.Tree, string, *snapshot.Folder, snapshot.Root) {
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
	tree, _, _, root := benchTree(b)
	base := b.TempDir()
	b.SetBytes(benchFiles * benchSize)
	n := 0
	for b.Loop() {
		n++
		// A folder of its own each time: ext4 looks long for an inode that was not
		// deleted in the last minute.
		restore(b, openFolder(b, tree, filepath.Join(base, strconv.Itoa(n))), root)
	}
}

func BenchmarkRestoreEqual(b *testing.B) {
	_, _, f, root := benchTree(b)
	for b.Loop() {
		restore(b, f, root)
	}
}

// BenchmarkRestoreWithoutIndex compares all of the content.
func BenchmarkRestoreWithoutIndex(b *testing.B) {
	tree, dir, _, root := benchTree(b)
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		if err := os.Remove(dir + ".index"); err != nil {
			b.Fatal(err)
		}
		restore(b, openFolder(b, tree, dir), root)
	}
}

func BenchmarkCaptureOneChanged(b *testing.B) {
	_, dir, f, _ := benchTree(b)
	path := filepath.Join(dir, "folder3", "file3")
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		if err := os.WriteFile(path, fmt.Append(nil, n), 0o644); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if s := capture(b, f); len(s.Changed) != 1 {
			b.Fatalf("%d files changed", len(s.Changed))
		}
	}
}

func BenchmarkCaptureFirst(b *testing.B) {
	_, dir, _, _ := benchTree(b)
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		b.StopTimer()
		store, err := folder.Open(filepath.Join(b.TempDir(), "blobs"))
		if err != nil {
			b.Fatal(err)
		}
		tree := snapshot.New(store, project)
		if err := os.Remove(dir + ".index"); err != nil {
			b.Fatal(err)
		}
		f := openFolder(b, tree, dir)
		b.StartTimer()
		capture(b, f)
	}
}
