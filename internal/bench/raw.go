package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// rawLimit is what the disk under dir can do at most: n writers hand records of
// stepBytes to one that appends all that wait to a file and calls syncData. It
// returns records per second.
func rawLimit(dir string, n int, d time.Duration) (float64, error) {
	f, err := os.CreateTemp(dir, "raw-*")
	if err != nil {
		return 0, fmt.Errorf("make the file of the raw limit: %w", err)
	}
	defer os.Remove(filepath.Clean(f.Name())) //nolint:errcheck // a file in the bench's own folder
	defer f.Close()                           //nolint:errcheck // nothing of it is kept

	queue := make(chan chan error, n)
	stop := make(chan struct{})
	var writer, writers sync.WaitGroup
	writer.Go(func() { appendWaiting(f, queue) })

	var records atomic.Int64
	var failed atomic.Pointer[error]
	began := time.Now()
	for range n {
		writers.Go(func() {
			ack := make(chan error, 1)
			for {
				select {
				case <-stop:
					return
				case queue <- ack:
				}
				if err := <-ack; err != nil {
					failed.Store(&err)
					return
				}
				records.Add(1)
			}
		})
	}
	time.Sleep(d)
	close(stop)
	writers.Wait()
	took := time.Since(began)
	close(queue)
	writer.Wait()
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("append to the file of the raw limit: %w", *err)
	}
	return float64(records.Load()) / took.Seconds(), nil
}

func appendWaiting(f *os.File, queue <-chan chan error) {
	record := make([]byte, stepBytes)
	var batch []byte
	var acks []chan error
	for ack := range queue {
		batch, acks = append(batch[:0], record...), append(acks[:0], ack)
		for more := true; more; {
			select {
			case ack, ok := <-queue:
				if more = ok; ok {
					batch, acks = append(batch, record...), append(acks, ack)
				}
			default:
				more = false
			}
		}
		_, err := f.Write(batch)
		if err == nil {
			err = syncData(f)
		}
		for _, ack := range acks {
			ack <- err
		}
	}
}
