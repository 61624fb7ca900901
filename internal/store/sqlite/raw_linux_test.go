//go:build linux

package sqlite_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkRaw is the limit of this machine's disk, against which the store's
// figures are to be read: writers that append 1 KiB to a plain file and share
// each fdatasync.
func BenchmarkRaw(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { benchmarkRaw(b, writers) })
	}
}

type rawFile struct {
	mu    sync.Mutex
	queue []chan struct{}
	data  bytes.Buffer
}

func benchmarkRaw(b *testing.B, writers int) {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close() // a file of a benchmark
	var (
		raw   rawFile
		wake  = make(chan struct{}, 1)
		done  = make(chan struct{})
		ended sync.WaitGroup
		chunk = bytes.Repeat([]byte("x"), 1024)
	)
	ended.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-wake:
			}
			raw.mu.Lock()
			group, data := raw.queue, bytes.Clone(raw.data.Bytes())
			raw.queue = nil
			raw.data.Reset()
			raw.mu.Unlock()
			if _, err := f.Write(data); err != nil {
				b.Error(err)
			}
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				b.Error(err)
			}
			for _, c := range group {
				close(c)
			}
		}
	})
	b.ResetTimer()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < b.N; i += writers {
				c := make(chan struct{})
				raw.mu.Lock()
				raw.queue = append(raw.queue, c)
				raw.data.Write(chunk)
				raw.mu.Unlock()
				select {
				case wake <- struct{}{}:
				default:
				}
				<-c
			}
		})
	}
	all.Wait()
	b.StopTimer()
	close(done)
	ended.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
