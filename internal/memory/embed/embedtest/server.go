package embedtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Request is one that reached a Server.
type Request struct {
	Path   string // as it was escaped
	Header http.Header
	Body   string
}

// Server stands for an endpoint and keeps what it was asked.
type Server struct {
	// Client reaches the server whatever host is asked. URL is its own, where it has
	// one.
	Client *http.Client
	URL    string

	mu       sync.Mutex
	received []Request
}

// NewServer starts a server on the loopback that ends with the test.
func NewServer(t *testing.T, answer http.HandlerFunc) *Server {
	t.Helper()
	s := &Server{}
	h := httptest.NewServer(s.keeping(answer))
	t.Cleanup(h.Close)
	s.URL = h.URL
	s.Client = &http.Client{Transport: redirect{h.Listener.Addr().String(), h.Client().Transport}}
	return s
}

// NewInProcess is NewServer without a network, for tests in which time is made
// up. An answer is whole before it is read.
func NewInProcess(answer http.HandlerFunc) *Server {
	s := &Server{}
	s.Client = &http.Client{Transport: inProcess{s.keeping(answer)}}
	return s
}

// Received returns the requests so far.
func (s *Server) Received() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.received...)
}

func (s *Server) keeping(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.received = append(s.received, Request{Path: r.URL.EscapedPath(), Header: r.Header.Clone(), Body: string(body)})
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r)
	})
}

// Write answers with the body as JSON.
func Write(w http.ResponseWriter, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b) //nolint:errcheck,gosec // whoever asked misses it
}

// redirect sends all requests to one address.
type redirect struct {
	address string
	next    http.RoundTripper
}

func (d redirect) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", d.address
	return d.next.RoundTrip(r)
}

type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	res := w.Result()
	res.Request = r
	return res, nil
}
