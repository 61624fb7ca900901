package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/client"
)

// TestPutFile sends a file to a handler in this process piece by piece, and reads
// one as it is written.
func TestPutFile(t *testing.T) {
	mux := http.NewServeMux()
	got := make(chan string, 1)
	mux.HandleFunc("PUT /v1/agents/environments/{id}/files/content", func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 5)
		if _, err := io.ReadFull(r.Body, first); err != nil {
			t.Error(err)
		}
		got <- string(first)
		rest, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Header.Get("Content-Type") != "application/octet-stream" || r.URL.Query().Get("path") != "/workspace/a b" || string(rest) != "world" {
			t.Errorf("%s %s %q", r.Header.Get("Content-Type"), r.URL, rest)
		}
		io.WriteString(w, `{"environment_id":"`+r.PathValue("id")+`","path":"/workspace/a b","size_bytes":10}`)
	})
	mux.HandleFunc("GET /v1/agents/sessions/{id}/artifacts/{artifact}/content", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "bytes of "+r.PathValue("artifact"))
	})
	mux.HandleFunc("DELETE /v1/agents/environments/{id}/files", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"error":{"message":"A turn runs.","code":"environment_busy"}}`)
	})
	c := client.Embed(mux, "")
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, "hello")
		if first := <-got; first != "hello" { // it came before the rest was there
			t.Errorf("first %q", first)
		}
		io.WriteString(w, "world")
		w.Close()
	}()
	f, err := c.PutFile(t.Context(), "env_1", "/workspace/a b", r)
	if err != nil || *f != (client.File{EnvironmentID: "env_1", Path: "/workspace/a b", SizeBytes: 10}) {
		t.Errorf("put %+v, %v", f, err)
	}
	body, err := c.Artifact(t.Context(), "sess_1", "artifact_1")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(body); err != nil || b.String() != "bytes of artifact_1" {
		t.Errorf("artifact %q, %v", b.String(), err)
	}
	var refused *client.APIError
	err = c.RemoveFile(t.Context(), "env_1", "/workspace/a")
	if !errors.As(err, &refused) || refused.Code != "environment_busy" || !strings.Contains(client.Message(err), "A turn runs") {
		t.Errorf("refused %v", err)
	}
}
