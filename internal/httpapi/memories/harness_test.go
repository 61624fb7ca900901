package memories_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/memories"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store/sqlite"
)

const path = "/v1/memories"

// keyAnn is of somebody who may act for one actor alone.
const keyAnn = identity.Prefix + "ann"

// world is a server of long-term memory over a store of its own, whose time the
// test sets.
type world struct {
	t   testing.TB
	url string
	key string
	now *time.Time
}

var start = time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC)

// newWorld speaks for the project a, and another() for the project b.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	return newWorldOf(tb, "ann")
}

// newWorldOf has a caller who may act for the actor alone.
func newWorldOf(tb testing.TB, actor string, changes ...func(*keeper.Config)) *world {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), "stayd.db"), sqlite.Options{Logger: log})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	words, err := static.New()
	if err != nil {
		tb.Fatal(err)
	}
	now := start
	w := &world{t: tb, key: "key-a", now: &now}
	keys := map[[32]byte]string{sha256.Sum256([]byte("key-a")): "a", sha256.Sum256([]byte("key-b")): "b"}
	server := httpapi.New(httpapi.Config{Log: log, Version: "test", Stopping: make(chan struct{}), Keys: keys, Callers: func(_ context.Context, key string) (identity.Principal, error) {
		if key != keyAnn {
			return identity.Principal{}, identity.ErrRefused
		}
		return identity.Principal{ID: "key_ann", Project: "a", Scope: identity.Write, Actor: actor}, nil
	}})
	cfg := keeper.Config{Store: st, Embedder: words, Local: true, Now: func() time.Time { return *w.now }, Log: log}
	for _, change := range changes {
		change(&cfg)
	}
	memories.Mount(server, memories.Config{Keeper: keeper.New(cfg)})
	hs := httptest.NewServer(server)
	tb.Cleanup(hs.Close)
	w.url = hs.URL
	return w
}

func (w *world) another() *world {
	other := *w
	other.key = "key-b"
	return &other
}

// on sets the time to nine o'clock on a day.
func (w *world) on(day string) {
	w.t.Helper()
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		w.t.Fatal(err)
	}
	*w.now = at.Add(9 * time.Hour)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// do sends a request; headers are given as name, value pairs.
func (w *world) do(method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(bytes.TrimSpace(data))}
}

// object is a memory as the wire has it.
type object struct {
	ID, Namespace, Strategy, Actor, Text, Origin string
	SupersededBy                                 string `json:"superseded_by"`
	Supersedes                                   string
	Metadata                                     map[string]string
	Citation                                     int
}

// must sends a request that has to succeed, and decodes its answer.
func must[T any](w *world, method, path, body string, headers ...string) T {
	w.t.Helper()
	a := w.do(method, path, body, headers...)
	var out T
	if a.status != http.StatusOK {
		w.t.Fatalf("%s %s: %s", method, path, a)
	}
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		w.t.Fatalf("%s %s: %s: %v", method, path, a, err)
	}
	return out
}

type list struct {
	Data    []object
	HasMore bool    `json:"has_more"`
	LastID  *string `json:"last_id"`
	Context string
}

func (l *list) texts() []string {
	texts := make([]string, len(l.Data))
	for i := range l.Data {
		texts[i] = l.Data[i].Text
	}
	return texts
}

// keep writes a memory about ann.
func (w *world) keep(text, fields string) object {
	w.t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(fields, `"actor"`) && !strings.Contains(fields, `"namespace"`) {
		fields += `,"actor":"ann"`
	}
	return must[object](w, "POST", path, `{"text":`+string(quoted)+fields+`}`)
}

func (w *world) search(body string) list {
	w.t.Helper()
	return must[list](w, "POST", path+"/search", body)
}

func (w *world) list(query string) list {
	w.t.Helper()
	return must[list](w, "GET", path+query, "")
}
