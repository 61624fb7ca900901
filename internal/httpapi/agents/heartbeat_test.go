package agents_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/agents"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/store"
)

// oneLog is a store of one session's log, for tests of time in which no file may
// be waited for.
type oneLog struct {
	store.Store
	records []event.Record
}

func (o *oneLog) Append(_ context.Context, a *store.Append) error {
	o.records = append(o.records, a.Records...)
	return nil
}

func (o *oneLog) Read(_ context.Context, _, _ string, after int64, _ int) ([]event.Record, error) {
	return o.records[min(after, int64(len(o.records))):], nil
}

type noLeases struct{}

func (noLeases) Epoch(int) int64 { return 1 }
func (noLeases) Lost(int)        {}

// written is a response that is read while it is written.
type written struct {
	header http.Header
	mu     sync.Mutex
	text   strings.Builder
}

func (w *written) Header() http.Header { return w.header }
func (w *written) WriteHeader(int)     {}
func (w *written) Flush()              {}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// TestHeartbeat keeps a quiet stream alive for an hour, with a comment every 15
// seconds, and ends it with its client.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oneLog{}
		j := journal.New(o, noLeases{}, time.Now, func(journal.Commit) {})
		server := httpapi.New(httpapi.Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		agents.Mount(server, agents.Config{Journal: j, Store: o, Feed: feed.New(), Now: time.Now})
		err := j.Create(t.Context(), httpapi.DefaultProject, "sess_1", func(tx *journal.Tx) error {
			return tx.Append(&event.SessionCreated{Project: httpapi.DefaultProject, Environment: event.Environment{Type: event.EnvironmentNone}})
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, gone := context.WithCancel(t.Context())
		w := &written{header: http.Header{}}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			server.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/v1/agents/sessions/sess_1/events", nil))
		}()
		<-time.After(time.Hour + time.Second)
		synctest.Wait()
		if want := "id: 1\n\n" + strings.Repeat(": alive\n\n", 240); w.String() != want {
			t.Errorf("after an hour the stream has %d bytes, want %d: the place and 240 comments", len(w.String()), len(want))
		}
		gone()
		<-ended
	})
}
