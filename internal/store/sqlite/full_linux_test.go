package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/disktest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// TestFullDisk fills the disk by appends of several sizes, from several sessions
// at once, and makes room again behind the store's back.
func TestFullDisk(t *testing.T) {
	for _, size := range []int{1000, 20_000, 300_000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) { testFullDisk(t, size) })
	}
}

func testFullDisk(t *testing.T, size int) {
	t.Helper()
	dir := disktest.Small(t, 16<<20)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "stayd.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // closed below
	epochs := claim(t, s)

	chains := make([]*chain, 8)
	var all sync.WaitGroup
	for i := range chains {
		c := newChain(epochs, fmt.Sprintf("s%d", i))
		chains[i] = c
		all.Go(func() {
			for {
				a := c.next(noise(size))
				err := s.Append(t.Context(), a)
				if err != nil {
					if !errors.Is(err, store.ErrFull) {
						t.Errorf("append on a full disk: %v, want ErrFull", err)
					}
					return
				}
				c.took(a)
			}
		})
	}
	all.Wait()
	for _, c := range chains {
		c.check(t, s)
		if err := s.Append(t.Context(), c.next(noise(4<<20))); !errors.Is(err, store.ErrFull) {
			t.Errorf("append of 4 MiB: %v, want ErrFull", err)
		}
	}
	if _, err := s.Claim(t.Context(), "other", []int{1}, time.Hour); err != nil && !errors.Is(err, store.ErrFull) {
		t.Errorf("claim: %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		c.append(t, s, noise(size))
		c.check(t, s)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping with room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	again := open(t, filepath.Join(dir, "stayd.db"))
	defer again.Close() // read only
	for _, c := range chains {
		c.check(t, again)
	}
}

// TestOpenOnFullDisk creates a store where there is no room for one.
func TestOpenOnFullDisk(t *testing.T) {
	dir := disktest.Small(t, 64<<10)
	path := filepath.Join(dir, "stayd.db")
	if s, err := sqlite.Open(t.Context(), path, sqlite.Options{}); !errors.Is(err, store.ErrFull) {
		t.Fatalf("open: %v, %v; want ErrFull", s, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8388608"); err != nil {
		t.Fatalf("make room: %v", err)
	}
	s := open(t, path)
	defer s.Close() // checked by what it holds
	c := newChain(claim(t, s), "s")
	c.append(t, s, "1")
	c.check(t, s)
}
