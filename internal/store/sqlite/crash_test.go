package sqlite_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store/sqlite"
)

const crashFile = "STAYD_TEST_CRASH_FILE"

const crashSessions = 16

func crashSession(i int) string { return fmt.Sprintf("s%d", i) }

// TestCrashChild is the process that TestKill kills. It appends to its sessions
// for as long as it lives, and says of each record that it was acknowledged.
func TestCrashChild(t *testing.T) {
	path := os.Getenv(crashFile)
	if path == "" {
		return // it is only a test within TestKill
	}
	s := open(t, path)
	epochs := claim(t, s)
	var out sync.Mutex
	var all sync.WaitGroup
	for i := range crashSessions {
		all.Go(func() {
			c := newChain(epochs, crashSession(i))
			var err error
			if c.records, err = s.Read(t.Context(), "project", c.session, 0, 1<<20); err != nil {
				t.Error(err)
				return
			}
			for {
				c.append(t, s, noise(200+len(c.records)%5*1500))
				out.Lock()
				fmt.Printf("acknowledged %d %d\n", i, len(c.records))
				out.Unlock()
			}
		})
	}
	all.Wait()
}

// TestKill kills a process that writes, again and again, and looks for what it
// had acknowledged.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	for round := range 5 {
		acked := killAfter(t, path, 100+round*150)
		s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err != nil {
			t.Fatalf("open after the crash: %v", err)
		}
		for i, n := range acked {
			got, err := s.Read(t.Context(), "project", crashSession(i), 0, 1<<20)
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			// One more may have been on its way.
			if len(got) < n || n > 0 && len(got) > n+1 {
				t.Errorf("session %d has %d records, %d were acknowledged", i, len(got), n)
			}
			var prev event.Hash
			for j := range got {
				if err := got[j].Verify(prev); err != nil {
					t.Fatal(err)
				}
				prev = got[j].Hash
			}
		}
		mustClose(t, s)
	}
}

// killAfter runs the child until it has acknowledged n records and returns how
// many it acknowledged of each session.
func killAfter(t *testing.T, path string, n int) (acked [crashSessions]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	total := 0
	for lines.Scan() {
		var i, seq int
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %d %d", &i, &seq); err != nil {
			t.Errorf("the child says %q", lines.Text())
			continue
		}
		acked[i] = seq
		if total++; total == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || total < n {
		t.Fatalf("the child ended by itself after %d records: %v", total, err)
	}
	return acked
}
