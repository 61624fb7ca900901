package modeltest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Answer writes what a provider answers.
type Answer func(w http.ResponseWriter, r *http.Request)

// Received is a request that reached the server.
type Received struct {
	Path   string
	Header http.Header
	Body   []byte
}

// Server stands for a provider, on the loopback. It gives its answers in order,
// the last one for good, and keeps what it was asked.
type Server struct {
	URL    string
	Client *http.Client

	mu       sync.Mutex
	received []Received
}

// NewServer starts a server that ends with the test.
func NewServer(t *testing.T, answers ...Answer) *Server {
	t.Helper()
	s := &Server{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		s.mu.Lock()
		answer := answers[min(len(s.received), len(answers)-1)]
		s.received = append(s.received, Received{Path: r.URL.EscapedPath(), Header: r.Header.Clone(), Body: body})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(h.Close)
	s.URL, s.Client = h.URL, h.Client()
	return s
}

// Received returns the requests so far.
func (s *Server) Received() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.received...)
}

// Only returns the one request that was made.
func (s *Server) Only(t *testing.T) Received {
	t.Helper()
	all := s.Received()
	if len(all) != 1 {
		t.Fatalf("%d requests were made, want 1", len(all))
	}
	return all[0]
}

// Stream answers with a stream in full.
func Stream(contentType string, stream []byte) Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(stream) // a client that went away is the test's matter
	}
}

// CutStream answers with a stream and then breaks the connection.
func CutStream(contentType string, stream []byte) Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(stream)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// HeldStream answers with a stream and then says no more until the client has
// gone.
func HeldStream(contentType string, stream []byte) Answer {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(stream)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute): // a client that never goes fails the test by itself
		}
	}
}

// Status answers with an error.
func Status(status int, header map[string]string, body string) Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// Decode reads JSON with its numbers as they are written.
func Decode(t *testing.T, raw []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, raw)
	}
	return v
}
