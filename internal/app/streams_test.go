package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestStreams has a client follow each of many sessions while all of them run a
// turn, and further clients that lose their stream again and again. Each of them
// gets every durable event once, in order: what a full replay has.
func TestStreams(t *testing.T) {
	steady, dropping := 1000, 250
	if racing || testing.Short() {
		steady, dropping = 100, 50
	}
	n := start(t, config(t))
	ids := createReady(t, n, steady)
	began := time.Now()
	clients := make([]*follower, 0, steady+dropping)
	for i := range steady {
		clients = append(clients, &follower{n: n, id: ids[i], answers: true, caughtUp: make(chan struct{})})
	}
	for i := range dropping {
		clients = append(clients, &follower{n: n, id: ids[i], drops: rand.New(rand.NewPCG(1, uint64(i))), caughtUp: make(chan struct{})})
	}
	var all errgroup.Group
	for _, c := range clients {
		all.Go(func() error { return c.run(t.Context()) })
	}
	for _, c := range clients {
		<-c.caughtUp
	}
	opened := time.Since(began)
	each(t, ids, func(id string) error {
		a, err := n.try(t.Context(), "POST", sessions+"/"+id+"/events", message("work"))
		if err == nil && a.status != 202 {
			err = fmt.Errorf("message to %s: %s", id, a)
		}
		return err
	})
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began) - opened
	events, drops := 0, 0
	for _, c := range clients {
		events += len(c.seen)
		drops += c.dropped
	}
	t.Logf("%d clients followed %d sessions and %d more lost their stream %d times: %d events in %s (opened in %s)",
		steady, steady, dropping, drops, events, took.Round(time.Millisecond), opened.Round(time.Millisecond))
	if drops < 2*dropping {
		t.Errorf("only %d streams were dropped", drops)
	}

	replays := make(map[string][]sse, steady)
	var mu sync.Mutex
	each(t, ids, func(id string) error {
		r, err := replay(t.Context(), n, id)
		mu.Lock()
		defer mu.Unlock()
		replays[id] = r
		return err
	})
	failures := 0
	for _, c := range clients {
		if err := c.check(replays[c.id]); err != nil && failures < 5 {
			failures++
			t.Error(err)
		}
	}
}

// createReady makes sessions whose first turn is over.
func createReady(t *testing.T, n *node, count int) []string {
	t.Helper()
	ids := make([]string, count)
	var g errgroup.Group
	g.SetLimit(64)
	for i := range ids {
		g.Go(func() error {
			a, err := n.try(t.Context(), "POST", sessions, sessionBody("script/streams", "hello", timerAndAsk))
			if err == nil && a.status != 200 {
				err = errors.New(a.String())
			}
			var made struct{ ID string }
			if err == nil {
				err = json.Unmarshal([]byte(a.body), &made)
			}
			ids[i] = made.ID
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatalf("create: %v", err)
	}
	return ids
}

func each(t *testing.T, ids []string, do func(id string) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(64)
	for _, id := range ids {
		g.Go(func() error { return do(id) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// follower is a client that follows a session from its start to the end of its
// second turn.
type follower struct {
	n        *node
	id       string
	answers  bool          // whether it answers the call of its function
	drops    *rand.Rand    // says where it loses its stream; nil: never
	caughtUp chan struct{} // closed once it knows the first turn, or failed

	last    string // id of the last event
	seen    []sse  // without the pieces of text
	idle    int
	dropped int
}

const maxDrops = 6

func (c *follower) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if c.idle == 0 {
			close(c.caughtUp)
		}
	}()
	c.last = "0"
	for c.idle < 2 {
		if err := c.listen(ctx); err != nil {
			return fmt.Errorf("client of %s after %d events: %w", c.id, len(c.seen), err)
		}
	}
	return nil
}

// listen reads until the session is idle for the second time, or the stream is
// lost.
func (c *follower) listen(ctx context.Context) error {
	s, err := c.n.follow(ctx, c.id, c.last)
	if err != nil {
		return err
	}
	defer s.close()
	left := -1
	if c.drops != nil && c.dropped < maxDrops {
		left = 1 + c.drops.IntN(20)
	}
	for c.idle < 2 {
		if left == 0 {
			c.dropped++
			return nil
		}
		e, err := s.next()
		if err != nil {
			return err
		}
		if err := c.take(ctx, e); err != nil {
			return err
		}
		if e.kind != "" {
			left--
		}
	}
	return nil
}

func (c *follower) take(ctx context.Context, e sse) error {
	c.last = e.id
	switch {
	case e.kind == "" || strings.HasSuffix(e.kind, ".delta"):
		return nil
	case e.kind == "error":
		return fmt.Errorf("the stream failed: %s", e.data)
	}
	c.seen = append(c.seen, e)
	switch e.kind {
	case "agent.session.idle":
		if c.idle++; c.idle == 1 {
			close(c.caughtUp)
		}
	case "agent.session.requires_action":
		return c.answer(ctx, e)
	}
	return nil
}

func (c *follower) answer(ctx context.Context, e sse) error {
	if !c.answers {
		return nil
	}
	var data struct{ Session session }
	if err := json.Unmarshal([]byte(e.data), &data); err != nil {
		return err
	}
	if len(data.Session.RequiredActions) != 1 {
		return fmt.Errorf("what is required: %s", e.data)
	}
	want := data.Session.RequiredActions[0]
	a, err := c.n.try(ctx, "POST", sessions+"/"+c.id+"/events", toolResult(want.TurnID, want.CallID, "abracadabra"))
	if err == nil && a.status != 202 {
		err = fmt.Errorf("answer of a call: %s", a)
	}
	return err
}

// check compares what the client got with a full replay. An event that is sent
// ahead, with the text that is still coming in, has the id of the last durable
// one, and comes again to a client that lost its stream meanwhile: such a client
// knows it by its event_id.
func (c *follower) check(replay []sse) error {
	type told struct{ kind, data string }
	var got []told
	known := map[told]bool{}
	before := ""
	for _, e := range c.seen {
		early := e.id == before
		ev := told{e.kind, e.data}
		if known[ev] && (early || c.drops == nil || !strings.HasSuffix(e.kind, ".added")) {
			return fmt.Errorf("client of %s got twice: %+v", c.id, e)
		}
		before = e.id
		if !known[ev] {
			got = append(got, ev)
		}
		known[ev] = true
	}
	for i, e := range replay {
		if i == len(got) || got[i] != (told{e.kind, e.data}) {
			return fmt.Errorf("client of %s: event %d of %d is not that of the replay\nwant %+v\ngot  %+v", c.id, i, len(got), e, got[min(i, len(got)-1)])
		}
	}
	if len(got) != len(replay) {
		return fmt.Errorf("client of %s got %d events, the replay has %d", c.id, len(got), len(replay))
	}
	return nil
}

// replay reads all events of a session that is idle after two turns.
func replay(ctx context.Context, n *node, id string) ([]sse, error) {
	s, err := n.follow(ctx, id, "0")
	if err != nil {
		return nil, err
	}
	defer s.close()
	var events []sse
	for idle := 0; idle < 2; {
		e, err := s.next()
		if err != nil {
			return nil, err
		}
		if e.kind == "agent.session.idle" {
			idle++
		}
		if e.kind != "" {
			events = append(events, e)
		}
	}
	return events, nil
}

// TestStreamMemory measures what a stream costs on which nothing happens. The
// clients are bare connections, which cost next to nothing.
func TestStreamMemory(t *testing.T) {
	const limit = 46 << 10
	count := 1000
	if racing || testing.Short() {
		count = 200
	}
	n := start(t, config(t))
	ids := createReady(t, n, count)
	for _, id := range ids {
		n.until(id, "idle")
	}
	conns := make([]net.Conn, count)
	for i, id := range ids {
		conns[i] = n.listen(t, id)
	}
	with := inUse()
	for _, c := range conns {
		c.Close()
	}
	wait(t, "the streams to end", func() bool {
		return strings.Contains(n.do("GET", "/metrics", "").body, "\nstayd_http_open_streams 0\n")
	})
	perStream := (int64(with) - int64(inUse())) / int64(count)
	t.Logf("%d quiet streams: %d bytes each", count, perStream)
	if !racing && perStream > limit {
		t.Errorf("a quiet stream costs %d bytes, more than %d", perStream, limit)
	}
}

// listen opens a stream and reads it up to where the session is idle.
func (n *node) listen(t *testing.T, id string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET %s/%s/events?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", sessions, id)
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("stream of %s: %v", id, err)
		}
		if strings.HasPrefix(line, "event: agent.session.idle") {
			return c
		}
	}
}

// inUse is the memory that what is on heap and stacks takes once nothing more can
// be freed. Room between objects is not counted: it depends on what else ran.
func inUse() uint64 {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
