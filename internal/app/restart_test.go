package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/cluster"
)

// envHold makes the test binary a process that holds the data folder named by
// it until its standard input ends.
const envHold = "STAYD_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envHold); dir != "" {
		if err := hold(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func hold(dir string) error {
	cfg := app.Default()
	cfg.Data = dir
	a, err := app.Open(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	fmt.Println("holding")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, a.Close(context.Background()))
}

// TestRestart stops the runtime in the middle of a turn and starts it again on
// the same data: the turn goes on, each of its calls was made once, and a client
// takes up its stream where it lost it.
func TestRestart(t *testing.T) {
	cfg := config(t)
	n := start(t, cfg)
	busy := n.create("many steps", timerAndAsk)
	asking := n.create("ask me", timerAndAsk)
	action := n.until(asking, "requires_action").RequiredActions[0]
	s, err := n.follow(t.Context(), busy, "0")
	if err != nil {
		t.Fatal(err)
	}
	var seen []sse
	for calls := 0; calls < 5; {
		e, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, e)
		if e.kind == "agent.session.turn.item.done" {
			calls++
		}
	}
	n.stop()
	for {
		e, err := s.next()
		if err != nil {
			break
		}
		seen = append(seen, e)
	}
	s.close()

	n = start(t, cfg)
	if got := n.session(busy).Status; got != "in_progress" {
		t.Errorf("the busy session is %s after the restart: it was not stopped in the middle", got)
	}
	if s, err = n.follow(t.Context(), busy, seen[len(seen)-1].id); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for seen[len(seen)-1].kind != "agent.session.idle" {
		e, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, e)
	}
	n.checkSteps(busy, seen)
	again := n.until(asking, "requires_action").RequiredActions[0]
	if again != action {
		t.Errorf("the call that waits is %+v, it was %+v", again, action)
	}
	n.must(nil, "POST", sessions+"/"+asking+"/events", toolResult(action.TurnID, action.CallID, "still here"))
	n.until(asking, "idle")
	items := n.items(asking)
	if got := items[len(items)-1].text(); got != "The client said still here." {
		t.Errorf("the answer after the restart is %q", got)
	}
	n.verify(busy)
	n.verify(asking)
}

// checkSteps shows that the turn made each of its forty calls once, and that the
// client was told so once.
func (n *node) checkSteps(id string, seen []sse) {
	n.t.Helper()
	calls := map[string]bool{}
	told := map[string]int{}
	for _, e := range seen {
		var data struct {
			EventID string `json:"event_id"`
			Item    item
		}
		if e.kind == "" {
			continue
		}
		if err := json.Unmarshal([]byte(e.data), &data); err != nil {
			n.t.Fatalf("%v in %+v", err, e)
		}
		told[data.EventID]++
		if e.kind == "agent.session.turn.item.done" && data.Item.Type == "mcp_call" {
			calls[data.Item.ID] = true
		}
	}
	for id, times := range told {
		if times != 1 {
			n.t.Errorf("the client was told %d times of %s", times, id)
		}
	}
	finished := 0
	for _, r := range n.log(id) {
		if r.Kind == "effect.finished" {
			finished++
		}
	}
	if len(calls) != 40 || finished != 40 {
		n.t.Errorf("the client was told of %d calls, %d ended, want 40", len(calls), finished)
	}
	if turns := n.turns(id); len(turns) != 1 || turns[0].Status != "completed" {
		n.t.Errorf("turns %+v", turns)
	}
}

// TestHeld refuses to start on data that another process holds, and names it.
func TestHeld(t *testing.T) {
	cfg := config(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(self)
	other.Env = append(os.Environ(), envHold+"="+cfg.Data)
	other.Stderr = t.Output()
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "holding\n" {
		t.Fatalf("the other process said %q: %v", line, err)
	}

	cfg.Patience = 100 * time.Millisecond
	a, err := app.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	var held *cluster.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("opened %v, error %v; want *cluster.HeldError", a, err)
	}
	if want := fmt.Sprintf("stayd pid %d on ", other.Process.Pid); !strings.HasPrefix(held.Owner, want) || held.Shards != 256 || !strings.Contains(err.Error(), held.Owner) {
		t.Errorf("held by %q (%d shards), want %q...: %v", held.Owner, held.Shards, want, err)
	}

	stdin.Close()
	if err := other.Wait(); err != nil {
		t.Fatalf("the other process: %v", err)
	}
	a, err = app.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("after the other process ended: %v", err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
