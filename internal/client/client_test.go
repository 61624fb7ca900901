package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/client"
)

func TestEmbeddedAnswer(t *testing.T) {
	c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("body: %v", err)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("authorization %q", got)
		}
		fmt.Fprintf(w, `{"said":"%s %s?%s %s"}`, r.Method, r.URL.Path, r.URL.RawQuery, strings.ReplaceAll(string(body), `"`, "'"))
	}), "secret")
	var out struct{ Said string }
	if err := c.Do(t.Context(), "POST", "/v1/thing?x=1", map[string]int{"n": 3}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "POST /v1/thing?x=1 {'n':3}"; out.Said != want {
		t.Errorf("said %q, want %q", out.Said, want)
	}
}

func TestEmbeddedStreamComesPieceByPieceAndEndsWithTheReader(t *testing.T) {
	next, ended := make(chan struct{}), make(chan struct{})
	c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		fmt.Fprintln(w, "one")
		w.(http.Flusher).Flush()
		<-next
		fmt.Fprintln(w, "two")
		<-r.Context().Done()
	}), "")
	ctx, cancel := context.WithCancel(t.Context())
	body, err := c.Stream(ctx, "GET", "/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(body)
	lines.Scan()
	if lines.Text() != "one" {
		t.Fatalf("first line %q", lines.Text())
	}
	close(next)
	lines.Scan()
	if lines.Text() != "two" {
		t.Fatalf("second line %q", lines.Text())
	}
	cancel()
	<-ended
}

func TestErrors(t *testing.T) {
	c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refused":
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"error":{"type":"invalid_request_error","code":"busy","message":"The session is busy.","param":null}}`)
		case "/odd":
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, "<html>")
		case "/panic":
			panic("lost")
		}
	}), "")
	for _, tc := range []struct {
		path, want string
		status     int
	}{
		{"/refused", "The session is busy.", 409},
		{"/odd", "the server answered with status 502", 502},
	} {
		err := c.Do(t.Context(), "GET", tc.path, nil, nil)
		if client.Message(err) != tc.want || client.Status(err) != tc.status {
			t.Errorf("%s: %q with status %d, want %q with %d", tc.path, client.Message(err), client.Status(err), tc.want, tc.status)
		}
	}
	if err := c.Do(t.Context(), "GET", "/panic", nil, nil); err == nil || !strings.Contains(err.Error(), "the runtime failed at GET /panic: lost") {
		t.Errorf("panic: %v", err)
	}
}

func TestEmbeddedRequestEndsWithItsContext(t *testing.T) {
	c := client.Embed(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Do(ctx, "GET", "/", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestClosingTheBodyEndsTheHandler(t *testing.T) {
	ended := make(chan struct{})
	c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}), "")
	body, err := c.Stream(t.Context(), "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	<-ended
}

func TestDialRefusesWhatIsNoURL(t *testing.T) {
	for _, base := range []string{"", "localhost:8080", "ftp://x", "http://"} {
		if _, err := client.Dial(base, ""); err == nil {
			t.Errorf("Dial(%q) has no error", base)
		}
	}
}

func TestFollowKnowsItsPlace(t *testing.T) {
	c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Path + " " + r.Header.Get("Last-Event-ID"); got != "/v1/agents/sessions/s_1/events 3.1" {
			t.Errorf("asked for %q", got)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, ": alive\n\nid: 4.0\nevent: agent.session.idle\ndata: {\"type\":\"agent.session.idle\",\"event_id\":\"evt_1\"}\n\nid: 5\n\n")
	}), "")
	events, err := c.Follow(t.Context(), "s_1", "3.1")
	if err != nil {
		t.Fatal(err)
	}
	if events.Cursor() != "3.1" {
		t.Errorf("cursor %q before the first event", events.Cursor())
	}
	if !events.Next() || events.Current().Type != "agent.session.idle" || events.Cursor() != "4.0" {
		t.Fatalf("event %+v at %q: %v", events.Current().Type, events.Cursor(), events.Err())
	}
	if events.Next() || events.Err() != nil {
		t.Errorf("the stream goes on, or failed: %v", events.Err())
	}
	if events.Cursor() != "5" {
		t.Errorf("cursor %q at the end", events.Cursor())
	}
}

// FuzzFollow checks that any stream is read to its end.
func FuzzFollow(f *testing.F) {
	f.Add("id: 1\nevent: a\ndata: {}\n\n")
	f.Add(": x\r\ndata:\r\n\r\nid")
	f.Fuzz(func(t *testing.T, stream string) {
		c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, stream) }), "")
		events, err := c.Follow(t.Context(), "s", "")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for events.Next() {
			n++
		}
		if n > strings.Count(stream, "data") {
			t.Errorf("%d events in %q", n, stream)
		}
		events.Close()
	})
}

// TestRedirects shows the key to the server that it is for, and to none that a
// redirect leads to.
func TestRedirects(t *testing.T) {
	var mu sync.Mutex
	var shown []string
	note := func(name string, next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			shown = append(shown, name+r.URL.Path+" "+r.Header.Get("Authorization"))
			mu.Unlock()
			next(w, r)
		}
	}
	var server, other *httptest.Server
	server = httptest.NewServer(note("own", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, other.URL+"/there", http.StatusTemporaryRedirect)
		case "/around":
			http.Redirect(w, r, "/around", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	other = httptest.NewServer(note("other", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, server.URL+"/back", http.StatusTemporaryRedirect)
	}))
	defer other.Close()
	c, err := client.Dial(server.URL, "canary")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/moved", "/away"} {
		if err := c.Do(t.Context(), "GET", path, nil, nil); err != nil {
			t.Error(err)
		}
	}
	// Both are servers of one host, at another port each.
	want := []string{"own/moved Bearer canary", "own/here Bearer canary", "own/away Bearer canary", "other/there ", "own/back "}
	if !slices.Equal(shown, want) {
		t.Errorf("shown %q, want %q", shown, want)
	}
	if err := c.Do(t.Context(), "GET", "/around", nil, nil); err == nil || !strings.Contains(err.Error(), "stopped after 10 redirects") {
		t.Errorf("without an end: %v", err)
	}
}
