package app_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounting a small file system needs root: the full disk is not tested")
	}
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill writes to the file until the disk has no room left.
func fill(t *testing.T, path string) {
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
	dir := smallDisk(t, 48<<20)
	cfg := config(t)
	cfg.Data = filepath.Join(dir, "data")
	n := start(t, cfg)
	busy := n.create("script/work", "many steps", timerAndAsk)
	asking := n.create("script/work", "ask me", timerAndAsk)
	idle := n.create("script/work", "hello", timerAndAsk)
	n.until(idle, "idle")
	action := n.until(asking, "requires_action").RequiredActions[0]
	follow, err := n.follow(t.Context(), busy, "0")
	if err != nil {
		t.Fatal(err)
	}
	defer follow.close()

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	acked, refused := n.writeUntilFull(idle)
	t.Logf("%d messages were acknowledged on the full disk, then one was refused", len(acked))
	for name, a := range map[string]answer{
		"create":  n.do("POST", sessions, sessionBody("script/work", strings.Repeat("new ", 500), "")),
		"message": n.do("POST", sessions+"/"+asking+"/events", message(strings.Repeat("more ", 500))),
		"agent":   n.do("POST", "/v1/agents", `{"model":"script/work","instructions":"`+strings.Repeat("long ", 500)+`"}`),
	} {
		if a.status != 507 || a.body != fullBody {
			t.Errorf("%s on a full disk: %s", name, a)
		}
	}
	n.readsGoOn(idle, asking, busy)
	if a := n.do("GET", "/readyz", ""); a.status != 503 || !strings.Contains(a.body, "full") {
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
	fresh := n.create("script/work", "many steps", timerAndAsk)
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
	for _, id := range []string{busy, asking, idle, fresh} {
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
