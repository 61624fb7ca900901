package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/disktest"
)

// fill writes to the file until the disk has only the room left.
func fill(t *testing.T, path string, room int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size - room); err != nil {
		t.Fatalf("leave some room: %v", err)
	}
}

const (
	fullBody = `{"error":{"message":"The disk of the store is full. Nothing was written. Make room and try again.",` +
		`"type":"server_error","param":null,"code":"storage_full"}}`
	maxWrites = 20_000
)

// TestFullDisk fills the disk under a runtime at work: writes are answered so,
// everything that is there can be read and followed, nothing acknowledged is
// lost, and once there is room it goes on by itself.
func TestFullDisk(t *testing.T) {
	dir := disktest.Small(t, 48<<20)
	cfg := config(t)
	cfg.Data = filepath.Join(dir, "data")
	n := start(t, cfg)
	busy := n.create("many steps", timerAndAsk)
	asking := n.create("ask me", timerAndAsk)
	idle := n.create("hello", timerAndAsk)
	n.until(idle, "idle")
	action := n.until(asking, "requires_action").RequiredActions[0]
	follow, err := n.follow(t.Context(), busy, "0")
	if err != nil {
		t.Fatal(err)
	}
	defer follow.close()

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 1<<20)
	acked, refused := n.writeUntilFull(idle)
	t.Logf("%d messages were acknowledged while the disk filled up", len(acked))
	if len(acked) == 0 {
		t.Error("nothing was acknowledged while the disk filled up")
	}
	made := n.refusedWhenFull()
	n.readsGoOn(idle, asking, busy)
	// Its small write may find room where those of sessions do not.
	if a := n.do("GET", "/readyz", ""); a.status != 200 && (a.status != 503 || !strings.Contains(a.body, "full")) {
		t.Errorf("readyz on a full disk: %s", a)
	}
	if a := n.do("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz on a full disk: %s", a)
	}
	if s := n.session(busy); s.Status != "in_progress" {
		t.Errorf("the busy session is %s on a full disk", s.Status)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if e, err := follow.find("agent.session.turn.completed"); err != nil {
		t.Errorf("the stream of the busy session: %v, %+v", err, e)
	}
	n.until(busy, "idle")
	wait(t, "the tool's result to be taken", func() bool {
		return n.do("POST", sessions+"/"+asking+"/events", toolResult(action.TurnID, action.CallID, "room")).status == 202
	})
	n.until(asking, "idle")
	wait(t, "readiness", func() bool { return n.do("GET", "/readyz", "").status == 200 })
	fresh := n.create("many steps", timerAndAsk)
	n.until(fresh, "idle")
	n.until(idle, "idle")

	got := map[string]bool{}
	for _, it := range n.items(idle) {
		if it.Role == "user" {
			got[it.text()] = true
		}
	}
	for _, text := range acked {
		if !got[text] {
			t.Errorf("an acknowledged message of %d characters is lost", len(text))
		}
	}
	if got[refused] || len(got) != len(acked)+1 {
		t.Errorf("%d messages, want the first and %d more; the refused one is there: %v", len(got), len(acked), got[refused])
	}
	for _, id := range append(made, busy, asking, idle, fresh) {
		n.until(id, "idle")
		for _, turn := range n.turns(id) {
			if turn.Status != "completed" {
				t.Errorf("a turn of %s: %+v", id, turn)
			}
		}
		n.verify(id)
	}
}

// writeUntilFull sends messages until there is no room for even a small one. It
// returns those that were acknowledged, and the last, which was not.
func (n *node) writeUntilFull(id string) (acked []string, refused string) {
	n.t.Helper()
	for _, size := range []int{100_000, 3000, 10} {
		for i := range maxWrites {
			// Text that can be compressed would need hardly any room.
			text := fmt.Sprintf("%d %d ", size, i) + noise(size)
			a := n.do("POST", sessions+"/"+id+"/events", message(text))
			if a.status == 507 {
				if a.body != fullBody {
					n.t.Errorf("a message on a full disk: %s", a)
				}
				refused = text
				break
			}
			if a.status != 202 {
				n.t.Fatalf("a message on a full disk: %s", a)
			}
			acked = append(acked, text)
		}
		if refused == "" {
			n.t.Fatalf("the disk takes %d messages of %d bytes and is not full", maxWrites, size)
		}
	}
	return acked, refused
}

// refusedWhenFull creates sessions and agents until there is no room for them. It
// returns the sessions that were acknowledged.
func (n *node) refusedWhenFull() (made []string) {
	n.t.Helper()
	for path, body := range map[string]func() string{
		sessions:     func() string { return sessionBody("script/work", noise(20_000), "") },
		"/v1/agents": func() string { return `{"model":"script/work","instructions":"` + noise(20_000) + `"}` },
	} {
		for i := 0; ; i++ {
			a := n.do("POST", path, body())
			if a.status == 507 {
				if a.body != fullBody {
					n.t.Errorf("POST %s on a full disk: %s", path, a)
				}
				break
			}
			var o struct{ ID string }
			if err := json.Unmarshal([]byte(a.body), &o); err != nil || a.status != 200 || i == maxWrites {
				n.t.Fatalf("POST %s on a full disk: %s", path, a)
			}
			if path == sessions {
				made = append(made, o.ID)
			}
		}
	}
	return made
}

// readsGoOn reads all that there is to read of sessions.
func (n *node) readsGoOn(ids ...string) {
	n.t.Helper()
	for _, id := range ids {
		path := sessions + "/" + id
		for _, what := range []string{"", "/turns", "/items", "/log", "/effects"} {
			if a := n.do("GET", path+what, ""); a.status != 200 {
				n.t.Errorf("GET %s: %s", path+what, a)
			}
		}
		n.verify(id)
		s, err := n.follow(n.t.Context(), id, "0")
		if err != nil {
			n.t.Errorf("a stream: %v", err)
			continue
		}
		if _, err := s.find("agent.session.turn.in_progress"); err != nil {
			n.t.Errorf("a stream of %s: %v", id, err)
		}
		s.close()
	}
	if a := n.do("GET", sessions, ""); a.status != 200 {
		n.t.Errorf("the list of sessions: %s", a)
	}
}
