package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/client"
)

// TestDialAs shows the token of the time with each request to the server, and none
// where the server leads away from itself.
func TestDialAs(t *testing.T) {
	var mu sync.Mutex
	var shown []string
	note := func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		shown = append(shown, r.Host+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"data":[]}`))
	}))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		if r.URL.Path == "/away" {
			http.Redirect(w, r, other.URL+"/here", http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"object":"list","data":[]}`))
	}))
	defer server.Close()
	n := 0
	gone := errors.New("there is no token any more")
	c, err := client.DialAs(server.URL+"/", func(context.Context) (string, error) {
		if n++; n > 3 {
			return "", gone
		}
		return "token-" + strconv.Itoa(n), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "GET", "/own", nil, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.SDK.Beta.Agents.Sessions.List(t.Context(), openai.BetaAgentSessionListParams{}); err != nil {
		t.Error(err)
	}
	if err := c.Do(t.Context(), "POST", "/away", map[string]string{"a": "b"}, nil); err != nil {
		t.Error(err)
	}
	if err := c.Do(t.Context(), "POST", "/own", map[string]string{"a": "b"}, nil); !errors.Is(err, gone) {
		t.Errorf("without a token: %v", err)
	}
	host, away := server.Listener.Addr().String(), other.Listener.Addr().String()
	want := []string{
		host + " /own Bearer token-1", host + " /v1/agents/sessions Bearer token-2", host + " /away Bearer token-3", away + " /here ",
	}
	if !slices.Equal(shown, want) {
		t.Errorf("shown %q, want %q", shown, want)
	}
	if _, err := client.DialAs("stayd.example.com", nil); err == nil {
		t.Error("taken: a server that is no URL")
	}
}
