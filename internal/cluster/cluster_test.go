package cluster_test

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

func open(t *testing.T) store.Store {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func holder(st store.Store, owner string, ttl time.Duration) *cluster.Holder {
	return cluster.New(st, owner, ttl, slog.New(slog.DiscardHandler))
}

// TestHeld shows that a second process is kept out by name, and gets the store
// when the first has given it back.
func TestHeld(t *testing.T) {
	st := open(t)
	first, second := holder(st, "first", time.Minute), holder(st, "second", time.Minute)
	if err := first.Acquire(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(first.Shards()); n != store.Shards {
		t.Errorf("holds %d shards", n)
	}
	var held *cluster.HeldError
	if err := second.Acquire(t.Context(), 0, nil); !errors.As(err, &held) || held.Owner != "first" || held.Shards != store.Shards {
		t.Fatalf("a held store was acquired: %v", err)
	}
	if !strings.Contains(held.Error(), "in use by first") {
		t.Errorf("the message does not name the owner: %v", held)
	}
	first.Release(t.Context())
	if err := second.Acquire(t.Context(), 0, nil); err != nil {
		t.Fatalf("a released store: %v", err)
	}
	if e := second.Epoch(7); e < 2 {
		t.Errorf("epoch %d does not follow the first process's", e)
	}
}

// TestExpired shows that the leases of a process of another machine end by
// themselves.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t)
		if err := holder(st, "elsewhere", 5*time.Second).Acquire(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		waited := false
		if err := holder(st, "second", time.Minute).Acquire(t.Context(), time.Minute, func(*cluster.HeldError) { waited = true }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); !waited || took < 5*time.Second || took > 6*time.Second {
			t.Errorf("acquired after %s, said that it waits: %v", took, waited)
		}
	})
}

// TestRenewed shows that a process that lives keeps its leases beyond their end.
func TestRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := open(t)
		first := holder(st, "first", 5*time.Second)
		if err := first.Acquire(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		first.Start(t.Context())
		var held *cluster.HeldError
		if err := holder(st, "second", time.Minute).Acquire(t.Context(), 20*time.Second, nil); !errors.As(err, &held) {
			t.Fatalf("the leases of a living process were taken: %v", err)
		}
		first.Stop(t.Context())
		if err := holder(st, "second", time.Minute).Acquire(t.Context(), 0, nil); err != nil {
			t.Fatalf("after the first stopped: %v", err)
		}
	})
}

// TestGone shows that the leases of a process of this machine that was killed
// are not waited for, and that those of a living one are.
func TestGone(t *testing.T) {
	if os.Getenv("STAYD_TEST_OWNER") != "" {
		os.Stdout.WriteString(cluster.Owner() + "\n")
		time.Sleep(time.Hour)
	}
	st := open(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestGone$")
	cmd.Env = append(os.Environ(), "STAYD_TEST_OWNER=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	owner := strings.TrimSpace(string(buf[:n]))
	if err := holder(st, owner, time.Hour).Acquire(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	second := holder(st, cluster.Owner(), time.Hour)
	var held *cluster.HeldError
	if err := second.Acquire(t.Context(), 0, nil); !errors.As(err, &held) {
		t.Fatalf("the leases of the living %s were taken: %v", owner, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := second.Acquire(t.Context(), 0, nil); err != nil {
		t.Fatalf("the leases of a killed process were waited for: %v", err)
	}
}
