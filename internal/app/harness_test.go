package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/app"
)

// patience bounds every wait of these tests. It is long, so that none of them
// fails on a slow machine.
const patience = 2 * time.Minute

// node is a whole runtime on loopback, spoken to over plain HTTP.
type node struct {
	t    *testing.T
	url  string
	key  string // API key; empty where the runtime has none
	http *http.Client
	stop func() // in order, once
}

// config is the default, with the scripts of these tests and its own data.
func config(t *testing.T) app.Config {
	cfg := app.Default()
	cfg.Data, cfg.Scripts = t.TempDir(), "testdata/scripts"
	return cfg
}

func start(t *testing.T, cfg app.Config) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, cfg, l)
}

func startOn(t *testing.T, cfg app.Config, l net.Listener) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Open(ctx, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	n := &node{t: t, url: "http://" + l.Addr().String(), http: &http.Client{Transport: transport}}
	n.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// as is the same runtime with another API key.
func (n *node) as(key string) *node {
	other := *n
	other.key = key
	return &other
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %.600s", a.status, a.body) }

// do sends a request; the headers are names and values in turn.
func (n *node) do(method, path, body string, headers ...string) answer {
	n.t.Helper()
	a, err := n.try(n.t.Context(), method, path, body, headers...)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (n *node) try(ctx context.Context, method, path, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := n.send(ctx, method, path, body, headers...)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(data)}, err
}

func (n *node) send(ctx context.Context, method, path, body string, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("OpenAI-Beta", "agents=v1")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if n.key != "" {
		req.Header.Set("Authorization", "Bearer "+n.key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return n.http.Do(req)
}

// must sends a request that has to succeed, and decodes the answer into out.
func (n *node) must(out any, method, path, body string, headers ...string) {
	n.t.Helper()
	a := n.do(method, path, body, headers...)
	if a.status/100 != 2 {
		n.t.Fatalf("%s %s: %s", method, path, a)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal([]byte(a.body), out); err != nil {
		n.t.Fatalf("%s %s: %v in %s", method, path, err, a)
	}
}

const sessions = "/v1/agents/sessions"

// create makes a session with the script work and returns its id. Fields are
// those of the agent beside its model.
func (n *node) create(input, fields string) string {
	n.t.Helper()
	var made struct{ ID string }
	n.must(&made, "POST", sessions, sessionBody("script/work", input, fields))
	return made.ID
}

func sessionBody(model, input, fields string) string {
	return `{"environment":{"type":"none"},"agent":{"model":"` + model + `"` + fields + `},"input":"` + input + `"}`
}

// timerAndAsk are the fields of an agent with a timer and a function that the
// test answers.
const timerAndAsk = `,"tools":[{"type":"timer"},{"type":"function","name":"ask","description":"asks","parameters":{"type":"object"}}]`

func message(text string) string {
	return `{"events":[{"type":"agent.session.input.message","input":[{"role":"user","content":[{"type":"input_text","text":"` + text + `"}]}]}]}`
}

func toolResult(turn, call, output string) string {
	return `{"events":[{"type":"agent.session.input.tool_result","turn_id":"` + turn + `","call_id":"` + call + `","success":true,"output":"` + output + `"}]}`
}

// session is what the tests look at in a session.
type session struct {
	ID              string
	Status          string
	RequiredActions []struct {
		Type, Name string
		CallID     string `json:"call_id"`
		TurnID     string `json:"turn_id"`
		EffectID   string `json:"effect_id"`
	} `json:"required_actions"`
	SpendControl struct{ Consumed, Limit int64 } `json:"spend_control"`
}

func (n *node) session(id string) (s session) {
	n.t.Helper()
	n.must(&s, "GET", sessions+"/"+id, "")
	return s
}

// until asks for the session until it has the status.
func (n *node) until(id, status string) session {
	n.t.Helper()
	var s session
	wait(n.t, fmt.Sprintf("session %s to be %s", id, status), func() bool {
		s = n.session(id)
		return s.Status == status
	})
	return s
}

// wait asks until the answer is yes.
func wait(t *testing.T, what string, ready func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ready(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

type turn struct {
	ID     string
	Status string
	Error  *struct{ Code, Message string }
}

// turns lists the session's turns, the oldest first.
func (n *node) turns(id string) []turn {
	return all[turn](n, sessions+"/"+id+"/turns?limit=100&order=asc")
}

type item struct {
	ID      string
	Type    string
	Role    string
	CallID  string `json:"call_id"`
	Status  string
	Content []struct{ Text string }
	// MemoryIDs are those that the runtime gave to the model.
	MemoryIDs []string `json:"memory_ids"`
}

func (i item) text() string {
	var b strings.Builder
	for _, c := range i.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

func (n *node) items(id string) []item {
	return all[item](n, sessions+"/"+id+"/items?limit=100&order=asc")
}

// all reads every page of a list.
func all[T any](n *node, path string) []T {
	n.t.Helper()
	var found []T
	for after := ""; ; {
		var page struct {
			Data    []T
			LastID  string `json:"last_id"`
			HasMore bool   `json:"has_more"`
		}
		n.must(&page, "GET", path+after, "")
		found = append(found, page.Data...)
		if !page.HasMore {
			return found
		}
		after = "&after=" + page.LastID
	}
}

type record struct {
	Seq  int64
	Kind string
	Data json.RawMessage
}

// log reads the session's records.
func (n *node) log(id string) []record {
	n.t.Helper()
	var found []record
	for after := int64(0); ; {
		var page struct {
			Data    []record
			HasMore bool `json:"has_more"`
		}
		n.must(&page, "GET", sessions+"/"+id+"/log?limit=1000&after="+strconv.FormatInt(after, 10), "")
		found = append(found, page.Data...)
		if !page.HasMore {
			return found
		}
		after = found[len(found)-1].Seq
	}
}

// verify has the runtime verify the session's log.
func (n *node) verify(id string) {
	n.t.Helper()
	var v struct {
		OK      bool
		Records int64
		Reason  string
	}
	n.must(&v, "POST", sessions+"/"+id+"/verify", "{}")
	if !v.OK || v.Records == 0 {
		n.t.Errorf("the log of %s does not verify: %+v", id, v)
	}
}

// sse is one server-sent event, or an id without one.
type sse struct {
	id   string // as it was sent: that of the last durable event, in one that is not durable
	kind string
	data string
}

// stream is a stream of a session's events, as a client has it.
type stream struct {
	body io.ReadCloser
	in   *bufio.Reader
}

// follow opens the stream after the event with the id, or of what is to come.
func (n *node) follow(ctx context.Context, id, after string) (*stream, error) {
	path := sessions + "/" + id + "/events"
	resp, err := n.send(ctx, "GET", path, "", "Last-Event-ID", after)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		return nil, fmt.Errorf("stream of %s after %s: %d %s", id, after, resp.StatusCode, data)
	}
	return &stream{body: resp.Body, in: bufio.NewReaderSize(resp.Body, 1024)}, nil
}

func (s *stream) close() { s.body.Close() }

func (s *stream) next() (sse, error) {
	var e sse
	for {
		line, err := s.in.ReadBytes('\n')
		if err != nil {
			return sse{}, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(": "))
		switch string(name) {
		case "":
			if e != (sse{}) {
				return e, nil
			}
		case "id":
			e.id = string(value)
		case "event":
			e.kind = string(value)
		case "data":
			e.data = string(value)
		}
	}
}

// find reads until there is an event of the kind.
func (s *stream) find(kind string) (sse, error) {
	for {
		e, err := s.next()
		if err != nil || e.kind == kind {
			return e, err
		}
		if e.kind == "error" {
			return e, fmt.Errorf("the stream failed: %s", e.data)
		}
	}
}

// noise is a text of that many characters that cannot be compressed much.
func noise(size int) string {
	b := make([]byte, (size+1)/2)
	rand.Read(b)
	return hex.EncodeToString(b)[:size]
}
