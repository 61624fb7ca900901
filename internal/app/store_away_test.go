package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/pgtest"
)

const awayBody = `{"error":{"message":"The store cannot take this now. Try again, with the same Idempotency-Key if there was one.",` +
	`"type":"server_error","param":null,"code":"service_unavailable"}}`

// TestStoreAway crashes the database server under a runtime at work, and later
// stops it in order. Each time, requests are answered so, and once the server is
// back all goes on by itself; nothing that was acknowledged is lost.
func TestStoreAway(t *testing.T) {
	cluster := pgtest.NewCluster(t)
	cfg := config(t)
	cfg.Store = cluster.Database(t, "away")
	n := start(t, cfg)
	var asking, working []string
	writers := make([]*writer, 10)
	for i := range writers {
		asking = append(asking, n.create("ask me", timerAndAsk))
		working = append(working, n.create("many steps", timerAndAsk))
		writers[i] = &writer{n: n, id: n.create("hello", "")}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for _, w := range writers {
		all.Go(func() { w.run(ctx) })
	}
	for i, end := range []func(testing.TB){cluster.Crash, cluster.Stop} {
		for len(working) < 20*(i+1) {
			working = append(working, n.create("many steps", timerAndAsk))
		}
		more(t, "messages to be acknowledged", writers, func(w *writer) *atomic.Int64 { return &w.acked })
		end(t)
		n.away(t, working[0])
		more(t, "messages to be refused", writers, func(w *writer) *atomic.Int64 { return &w.refused })
		cluster.Start(t)
		more(t, "messages to be acknowledged", writers, func(w *writer) *atomic.Int64 { return &w.acked })
		wait(t, "readiness", func() bool { return n.do("GET", "/readyz", "").status == 200 })
	}
	stop()
	all.Wait()

	for _, id := range asking {
		action := n.until(id, "requires_action").RequiredActions[0]
		n.must(nil, "POST", sessions+"/"+id+"/events", toolResult(action.TurnID, action.CallID, "yes"))
	}
	acked, refused := 0, int64(0)
	for _, w := range writers {
		n.until(w.id, "idle")
		w.check(t)
		acked += len(w.sent)
		refused += w.refused.Load()
		working = append(working, w.id)
	}
	for _, id := range append(working, asking...) {
		n.until(id, "idle")
		for _, turn := range n.turns(id) {
			if turn.Status != "completed" {
				t.Errorf("a turn of %s: %+v", id, turn)
			}
		}
		n.verify(id)
	}
	t.Logf("%d messages were acknowledged, 503 was answered %d times to their writers, %d sessions ended", acked, refused, len(working)+len(asking))
}

// more waits until every writer has got two more of these answers.
func more(t *testing.T, what string, writers []*writer, count func(*writer) *atomic.Int64) {
	t.Helper()
	var from []int64
	for _, w := range writers {
		from = append(from, count(w).Load())
	}
	wait(t, what, func() bool {
		for i, w := range writers {
			if count(w).Load() < from[i]+2 {
				return false
			}
		}
		return true
	})
}

// away checks the answers while the store is away.
func (n *node) away(t *testing.T, id string) {
	t.Helper()
	for name, a := range map[string]answer{
		"create":  n.do("POST", sessions, sessionBody("script/work", "hello", "")),
		"message": n.do("POST", sessions+"/"+id+"/events", message("hello")),
		"agent":   n.do("POST", "/v1/agents", `{"model":"script/work"}`),
		"list":    n.do("GET", sessions, ""),
	} {
		if a.status != 503 || a.header.Get("Retry-After") != "1" || a.body != awayBody {
			t.Errorf("%s with the store away: %s, Retry-After %q", name, a, a.header.Get("Retry-After"))
		}
	}
	a := n.do("GET", "/readyz", "")
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Errorf("readyz: %v in %s", err, a)
	}
	if a.status != 503 || a.header.Get("Retry-After") != "1" || e.Error.Code != "not_ready" || !strings.HasPrefix(e.Error.Message, "Not ready: ping postgres: the store does not answer") {
		t.Errorf("readyz with the store away: %s", a)
	}
	if a := n.do("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz with the store away: %s", a)
	}
}

// writer sends messages to a session, one after another, and repeats each until
// it is acknowledged.
type writer struct {
	n              *node
	id             string
	sent           []string // acknowledged
	pending        string   // not acknowledged when the writer was stopped
	acked, refused atomic.Int64
}

func (w *writer) run(ctx context.Context) {
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for i := 0; ; i++ {
		w.pending = fmt.Sprint("message ", i)
		for !w.send(ctx) {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
		}
		w.sent, w.pending = append(w.sent, w.pending), ""
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
	}
}

// send reports whether the message was acknowledged.
func (w *writer) send(ctx context.Context) bool {
	a, err := w.n.try(ctx, "POST", sessions+"/"+w.id+"/events", message(w.pending), "Idempotency-Key", w.pending)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			w.n.t.Errorf("a message to %s: %v", w.id, err)
		}
	case a.status == 202:
		w.acked.Add(1)
		return true
	case a.status == 503 && a.header.Get("Retry-After") == "1":
		w.refused.Add(1)
	default:
		w.n.t.Errorf("a message to %s: %s", w.id, a)
	}
	return false
}

// check compares what the session has with what was acknowledged.
func (w *writer) check(t *testing.T) {
	t.Helper()
	want := append([]string{"hello"}, w.sent...)
	var got []string
	for _, it := range w.n.items(w.id) {
		if it.Role == "user" {
			got = append(got, it.text())
		}
	}
	if n := len(got); n == len(want)+1 && got[n-1] == w.pending {
		got = got[:n-1] // it was written, and the answer was not waited for
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("session %s has the messages %q, acknowledged were %q", w.id, got, want)
	}
}
