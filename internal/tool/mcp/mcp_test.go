package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/tool/mcp"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("MCP_TEST_SERVER"); mode != "" {
		serveStdio(mode)
		return
	}
	// Servers that are replaced in a test never learn that their sessions are over.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/modelcontextprotocol/go-sdk/mcp.(*streamableServerConn).Read"))
}

// newServer is a server with a tool of each kind. calls counts those of "count";
// done ends the tools that hang, whose client may be gone without a word.
func newServer(calls *atomic.Int64, done <-chan struct{}) *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ServerOptions{PageSize: 3})
	add := func(name string, a *sdk.ToolAnnotations, h func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error)) {
		s.AddTool(&sdk.Tool{Name: name, Description: "does " + name, InputSchema: json.RawMessage(`{"type":"object"}`), Annotations: a}, h)
	}
	answer := func(c ...sdk.Content) func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return &sdk.CallToolResult{Content: c}, nil
		}
	}
	text := func(s string) sdk.Content { return &sdk.TextContent{Text: s} }
	add("text", &sdk.ToolAnnotations{ReadOnlyHint: true}, answer(text("hello")))
	add("texts", &sdk.ToolAnnotations{IdempotentHint: true}, answer(text("a"), text("b")))
	add("image", &sdk.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}, answer(&sdk.ImageContent{MIMEType: "image/png", Data: []byte("png")}, &sdk.ResourceLink{Name: "n", URI: "file:///x"}))
	add("nothing", nil, answer())
	add("structured", &sdk.ToolAnnotations{}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{StructuredContent: map[string]any{"n": 1}}, nil
	})
	add("fails", nil, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{text("it broke"), text("badly")}}, nil
	})
	add("echo", nil, func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		meta := map[string]any{}
		for _, k := range []string{"stayd/effect_id", "idempotencyKey", "tenant"} {
			meta[k] = r.Params.Meta[k]
		}
		b, err := json.Marshal(map[string]any{"meta": meta, "args": r.Params.Arguments})
		return &sdk.CallToolResult{Content: []sdk.Content{text(string(b))}}, err
	})
	add("count", nil, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{text(strconv.FormatInt(calls.Add(1), 10))}}, nil
	})
	add("progress", nil, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		for i, m := range []string{"", "half way"} {
			err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 4, Message: m})
			if err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
		case <-done:
		}
		return nil, errors.New("the tool was stopped")
	})
	add("hang", nil, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		calls.Add(1)
		if t := r.Params.GetProgressToken(); t != nil {
			r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: t, Message: "hanging"})
		}
		select {
		case <-ctx.Done():
		case <-done:
		}
		return nil, errors.New("the tool was stopped")
	})
	add("die", nil, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		os.Exit(3)
		return nil, nil
	})
	return s
}

// host is an HTTP server whose MCP server can be replaced, as by a restart.
type host struct {
	*httptest.Server
	calls   atomic.Int64
	posts   atomic.Int64
	handler atomic.Pointer[http.Handler]
	legacy  bool
	done    chan struct{}
	auth    atomic.Value // of the last request
	before  atomic.Pointer[func(http.ResponseWriter, []byte) bool]
}

func newHost(t *testing.T, legacy bool) *host {
	t.Helper()
	h := &host{legacy: legacy, done: make(chan struct{})}
	h.restart()
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		h.auth.Store(r.Header.Get("Authorization"))
		if bytes.Contains(b, []byte(`"tools/call"`)) {
			h.posts.Add(1)
		}
		// A server from before sessions were left out of the protocol.
		if h.legacy && bytes.Contains(b, []byte(`"server/discover"`)) {
			http.Error(w, "no such method", http.StatusBadRequest)
			return
		}
		if f := h.before.Load(); f != nil && (*f)(w, b) {
			return
		}
		(*h.handler.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(func() { close(h.done); h.Close() })
	return h
}

func (h *host) restart() {
	s := newServer(&h.calls, h.done)
	var handler http.Handler = sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil)
	h.handler.Store(&handler)
}

func client(t *testing.T) *http.Client {
	t.Helper()
	c, err := outbound.New(outbound.Policy{Allow: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func httpTool(url string) *event.Tool {
	return &event.Tool{Type: event.ToolMCP, ServerLabel: "test", Transport: &event.Transport{Type: "http", ServerURL: url, Headers: map[string]string{"Authorization": "Bearer key"}}}
}

func connect(t *testing.T, cfg mcp.Config) tool.Server {
	t.Helper()
	s, err := mcp.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func call(t *testing.T, s tool.Server, name string) (tool.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return s.Call(ctx, tool.Call{EffectID: "eff_1", Name: name, Arguments: json.RawMessage(`{"a":1}`)})
}

// bothTransports runs the test with a server of each kind.
func bothTransports(t *testing.T, test func(t *testing.T, cfg mcp.Config)) {
	t.Helper()
	t.Run("http", func(t *testing.T) { test(t, mcp.Config{Tool: httpTool(newHost(t, false).URL), HTTP: client(t)}) })
	t.Run("http with sessions", func(t *testing.T) { test(t, mcp.Config{Tool: httpTool(newHost(t, true).URL), HTTP: client(t)}) })
	t.Run("stdio", func(t *testing.T) { test(t, mcp.Config{Tool: stdioTool("plain")}) })
}

func TestList(t *testing.T) {
	bothTransports(t, func(t *testing.T, cfg mcp.Config) {
		t.Helper()
		specs, err := connect(t, cfg).List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		classes := map[string]event.Class{}
		for _, s := range specs {
			if s.Name == "environment" { // of the process only
				continue
			}
			classes[s.Name] = s.Class
			if s.ItemType != event.ItemMCPCall || s.Description != "does "+s.Name || string(s.Parameters) != `{"type":"object"}` {
				t.Errorf("%+v", s)
			}
		}
		want := "map[count: die: echo: fails: hang: image:pure nothing: progress: structured: text:pure texts:idempotent]"
		if got := fmt.Sprint(classes); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestAllowedTools(t *testing.T) {
	h := newHost(t, false)
	for want, allowed := range map[string][]string{"text texts": {"texts", "text", "other"}, "": {}} {
		cfg := mcp.Config{Tool: httpTool(h.URL), HTTP: client(t)}
		cfg.Tool.AllowedTools = allowed
		specs, err := connect(t, cfg).List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range specs {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCall(t *testing.T) {
	bothTransports(t, func(t *testing.T, cfg mcp.Config) {
		t.Helper()
		cfg.Tool.RequestMetadata = json.RawMessage(`{"tenant":"t1","idempotencyKey":"mine"}`)
		s := connect(t, cfg)
		for name, want := range map[string]string{
			"text":       `"hello"`,
			"texts":      `[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]`,
			"image":      `[{"type":"input_image","image_url":"data:image/png;base64,cG5n"},{"type":"input_text","text":"[resource n: file:///x]"}]`,
			"nothing":    `""`,
			"structured": `"{\"n\":1}"`,
			"echo":       `"{\"args\":{\"a\":1},\"meta\":{\"idempotencyKey\":\"eff_1\",\"stayd/effect_id\":\"eff_1\",\"tenant\":\"t1\"}}"`,
		} {
			res, err := call(t, s, name)
			if err != nil || res.Failed || string(res.Output) != want {
				t.Errorf("%s: %v %q %s, want %s", name, err, res.Error, res.Output, want)
			}
		}
		for name, want := range map[string]string{"fails": "it broke\nbadly", "missing": "missing"} {
			res, err := call(t, s, name)
			if err != nil || !res.Failed || !strings.Contains(res.Error, want) {
				t.Errorf("%s: %v, failed %v %q, want %q", name, err, res.Failed, res.Error, want)
			}
		}
	})
}

func TestProgress(t *testing.T) {
	bothTransports(t, func(t *testing.T, cfg mcp.Config) {
		t.Helper()
		s := connect(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var chunks []string
		_, err := s.Call(ctx, tool.Call{EffectID: "eff_1", Name: "progress", Output: func(c string) {
			if chunks = append(chunks, c); len(chunks) == 2 {
				cancel()
			}
		}})
		mustBeSent(t, err, true)
		if got := strings.Join(chunks, ""); got != "1 of 4\nhalf way\n" {
			t.Errorf("got %q", got)
		}
		if res, err := call(t, s, "text"); err != nil || res.Failed {
			t.Errorf("the next call: %v %q", err, res.Error)
		}
	})
}

func TestCancel(t *testing.T) {
	bothTransports(t, func(t *testing.T, cfg mcp.Config) {
		t.Helper()
		s := connect(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Call(ctx, tool.Call{EffectID: "eff_1", Name: "hang", Output: func(string) { cancel() }})
		cancel()
		mustBeSent(t, err, true)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if res, err := call(t, s, "text"); err != nil || res.Failed {
			t.Errorf("the next call: %v %q", err, res.Error)
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.Call(t.Context(), tool.Call{EffectID: "eff_2", Name: "hang", Output: func(string) { go s.Close() }})
			done <- err
		}()
		mustBeSent(t, <-done, true)
		_, err = call(t, s, "text")
		mustBeSent(t, err, false)
	})
}

func mustBeSent(t *testing.T, err error, sent bool) {
	t.Helper()
	var te *tool.Error
	if !errors.As(err, &te) {
		t.Fatalf("got %v, want a *tool.Error", err)
	}
	if te.Sent != sent {
		t.Errorf("Sent is %v in %q, want %v", te.Sent, te.Message, sent)
	}
	if strings.Contains(te.Message, "http://") {
		t.Errorf("the message has a URL: %s", te.Message)
	}
}

func TestCannotConnect(t *testing.T) {
	h := newHost(t, false)
	h.Close()
	refused, err := outbound.New(outbound.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]mcp.Config{
		"down":         {Tool: httpTool(h.URL), HTTP: client(t)},
		"not allowed":  {Tool: httpTool("http://127.0.0.1:1/mcp?key=secret"), HTTP: refused},
		"no URL":       {Tool: httpTool("x"), HTTP: client(t)},
		"no command":   {Tool: &event.Tool{ServerLabel: "test", Transport: &event.Transport{Type: "stdio", Command: "/does/not/exist"}}},
		"not a server": {Tool: &event.Tool{ServerLabel: "test", Transport: &event.Transport{Type: "stdio", Command: "true"}}},
		"no transport": {Tool: &event.Tool{ServerLabel: "test"}},
		"unknown":      {Tool: &event.Tool{ServerLabel: "test", Transport: &event.Transport{Type: "carrier pigeon"}}},
		"bad metadata": {Tool: &event.Tool{ServerLabel: "test", RequestMetadata: json.RawMessage(`[]`), Transport: &event.Transport{Type: "stdio", Command: "true"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mcp.Connect(t.Context(), cfg)
			mustBeSent(t, err, false)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the key: %v", err)
			}
		})
	}
}

// A server that went away before the call was sent has not been called; one that
// goes away while it works may have done it.
func TestSent(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		t.Run(fmt.Sprint("sessions ", legacy), func(t *testing.T) {
			h := newHost(t, legacy)
			// Of a connection that is kept, nobody knows at once that it was closed.
			hc := client(t)
			hc.Transport.(*http.Transport).DisableKeepAlives = true
			s := connect(t, mcp.Config{Tool: httpTool(h.URL), HTTP: hc})
			cases := []struct {
				name string
				do   func(w http.ResponseWriter)
				sent bool
			}{
				{"hangs up", func(w http.ResponseWriter) {
					c, _, err := w.(http.Hijacker).Hijack()
					if err == nil {
						c.Close()
					}
				}, true},
				{"bad gateway", func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, true},
				{"ends the stream", func(w http.ResponseWriter) {
					w.Header().Set("Content-Type", "text/event-stream")
					w.WriteHeader(http.StatusOK)
				}, true},
				{"too many requests", func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) }, false},
			}
			for _, tt := range cases {
				f := func(w http.ResponseWriter, body []byte) bool {
					if !bytes.Contains(body, []byte(`"tools/call"`)) {
						return false
					}
					tt.do(w)
					return true
				}
				h.before.Store(&f)
				posts := h.posts.Load()
				t.Run(tt.name, func(t *testing.T) {
					_, err := call(t, s, "count")
					mustBeSent(t, err, tt.sent)
				})
				if n := h.posts.Load() - posts; n != 1 {
					t.Errorf("%s: the call was sent %d times", tt.name, n)
				}
			}
			h.before.Store(nil)
			if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "1" {
				t.Errorf("afterwards: %v %s", err, res.Output)
			}
			h.Close()
			_, err := call(t, s, "count")
			mustBeSent(t, err, false)
		})
	}
}

// A server that restarted does not know the session; the call goes to a new one.
func TestServerRestarted(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		h := newHost(t, legacy)
		s := connect(t, mcp.Config{Tool: httpTool(h.URL), HTTP: client(t)})
		for i := range 3 {
			h.restart()
			if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != strconv.Itoa(i+1) {
				t.Errorf("sessions %v, call %d: %v %s", legacy, i, err, res.Output)
			}
			h.restart()
			if specs, err := s.List(t.Context()); err != nil || len(specs) != 11 {
				t.Errorf("sessions %v, list %d: %v, %d tools", legacy, i, err, len(specs))
			}
		}
		if got := h.auth.Load(); got != "Bearer key" {
			t.Errorf("the header is %q", got)
		}
	}
}

// The configured headers go to the server and to nobody else.
func TestHeadersOnRedirect(t *testing.T) {
	leaked := make(chan http.Header, 8)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked <- r.Header.Clone() }))
	defer other.Close()
	front := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer front.Close()
	_, err := mcp.Connect(t.Context(), mcp.Config{Tool: httpTool(front.URL), HTTP: client(t)})
	mustBeSent(t, err, false)
	close(leaked)
	for h := range leaked {
		if h.Get("Authorization") != "" {
			t.Errorf("the other host got %v", h)
		}
	}
}

func TestPool(t *testing.T) {
	h := newHost(t, true)
	var sessions sync.Map
	f := func(_ http.ResponseWriter, body []byte) bool {
		if bytes.Contains(body, []byte(`"initialize"`)) {
			n, _ := sessions.LoadOrStore("n", new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		return false
	}
	h.before.Store(&f)
	made := func() int64 {
		n, ok := sessions.Load("n")
		if !ok {
			return 0
		}
		return n.(*atomic.Int64).Load()
	}
	p := mcp.NewPool(mcp.PoolConfig{HTTP: client(t)})
	use := func(session string, tl *event.Tool) {
		t.Helper()
		s, err := p.Server(t.Context(), tool.Caller{Session: session}, tl)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := call(t, s, "text"); err != nil || res.Failed {
			t.Fatal(err, res.Error)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	other := httpTool(h.URL)
	other.Transport.Headers = map[string]string{"Authorization": "Bearer other"}
	for _, step := range []struct {
		do   func()
		want int64
	}{
		{func() { use("sess_1", httpTool(h.URL)) }, 1},
		{func() { use("sess_1", httpTool(h.URL)) }, 1},
		{func() { use("sess_2", httpTool(h.URL)) }, 2},
		{func() { use("sess_1", other) }, 3},
		{func() { use("sess_1", httpTool(h.URL)) }, 3},
		{func() {
			if err := p.Leave("sess_1"); err != nil {
				t.Error(err)
			}
			use("sess_2", httpTool(h.URL))
			use("sess_1", httpTool(h.URL))
		}, 4},
	} {
		step.do()
		if got := made(); got != step.want {
			t.Errorf("%d connections were made, want %d", got, step.want)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { use("sess_3", httpTool(h.URL)) })
	}
	wg.Wait()
	if got := made(); got != 5 {
		t.Errorf("%d connections were made, want 5", got)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := p.Server(t.Context(), tool.Caller{Session: "sess_1"}, httpTool(h.URL))
	mustBeSent(t, err, false)
}
