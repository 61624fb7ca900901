package mcp_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/tool/mcp"
)

// guard has the host take no request but with the credential.
func (h *host) guard(want string) {
	f := func(w http.ResponseWriter, _ []byte) bool {
		if h.auth.Load() == want {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return true
	}
	h.before.Store(&f)
}

func plainTool(url string) *event.Tool {
	return &event.Tool{Type: event.ToolMCP, ServerLabel: "test", Transport: &event.Transport{Type: "http", ServerURL: url}}
}

// TestAuthorize shows a server a credential, and another one when it refuses the
// first. The call is made once.
func TestAuthorize(t *testing.T) {
	h := newHost(t, true)
	h.guard("Bearer first")
	current := "Bearer first"
	var challenges []tool.Challenge
	s := connect(t, mcp.Config{Tool: plainTool(h.URL), HTTP: client(t), Authorize: func(_ context.Context, ch *tool.Challenge) (string, error) {
		if ch != nil {
			challenges = append(challenges, *ch)
			current = "Bearer second"
		}
		return current, nil
	}})
	if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "1" {
		t.Fatalf("%s, %v", res.Output, err)
	}
	h.guard("Bearer second")
	posts := h.posts.Load()
	if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "2" || h.posts.Load() != posts+2 {
		t.Fatalf("%s, %v, after %d requests", res.Output, err, h.posts.Load()-posts)
	}
	if len(challenges) != 1 || challenges[0].Refused != "Bearer first" || len(challenges[0].Authenticate) != 1 || challenges[0].Authenticate[0] != `Bearer error="invalid_token"` {
		t.Errorf("the challenges were %q", challenges)
	}
	// A server that takes neither has not been called, and is not asked for ever.
	h.guard("Bearer third")
	posts = h.posts.Load()
	_, err := call(t, s, "count")
	mustBeSent(t, err, false)
	if n := h.posts.Load() - posts; n != 1 || h.calls.Load() != 2 {
		t.Errorf("%d requests of a call that is refused, %d calls were made", n, h.calls.Load())
	}
}

// TestAuthorizedAndLost breaks a connection while a call is made that was refused
// once before, and while the answer of one is read whose credential is gone by
// then. Either call may have been done, and is said to.
func TestAuthorizedAndLost(t *testing.T) {
	t.Run("after a challenge", func(t *testing.T) {
		h := newHost(t, true)
		h.guard("Bearer first")
		current := "Bearer first"
		s := connect(t, mcp.Config{Tool: plainTool(h.URL), HTTP: client(t), Authorize: func(_ context.Context, ch *tool.Challenge) (string, error) {
			if ch != nil {
				current = "Bearer second"
			}
			return current, nil
		}})
		var done atomic.Int64
		f := func(w http.ResponseWriter, b []byte) bool {
			switch {
			case h.auth.Load() != "Bearer second":
				http.Error(w, "no", http.StatusUnauthorized)
				return true
			case bytes.Contains(b, []byte(`"tools/call"`)):
				done.Add(1)
				panic(http.ErrAbortHandler)
			}
			return false
		}
		h.before.Store(&f)
		_, err := call(t, s, "count")
		mustBeSent(t, err, true)
		if done.Load() != 1 {
			t.Errorf("it was done %d times", done.Load())
		}
	})
	t.Run("while the answer is resumed", func(t *testing.T) {
		h := newHost(t, true)
		var gone atomic.Bool
		s := connect(t, mcp.Config{Tool: plainTool(h.URL), HTTP: client(t), Authorize: func(context.Context, *tool.Challenge) (string, error) {
			if gone.Load() {
				return "", &tool.ConsentError{Server: h.URL}
			}
			return "Bearer first", nil
		}})
		f := func(w http.ResponseWriter, b []byte) bool {
			if !bytes.Contains(b, []byte(`"tools/call"`)) {
				return false
			}
			gone.Store(true)
			w.Header().Set("Content-Type", "text/event-stream")
			w.Write([]byte("id: 1\nretry: 10\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}\n\n"))
			return true
		}
		h.before.Store(&f)
		_, err := call(t, s, "count")
		mustBeSent(t, err, true)
	})
}

// TestHostOfHeader has the configuration name another host. A credential does not
// go there.
func TestHostOfHeader(t *testing.T) {
	h := newHost(t, true)
	var host atomic.Value
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host.Store(r.Host)
		r.Host = "127.0.0.1" // it compares it with where it listens
		(*h.handler.Load()).ServeHTTP(w, r)
	}))
	defer front.Close()
	for shown, want := range map[string]string{"": "other.example", "Bearer secret": strings.TrimPrefix(front.URL, "http://")} {
		tl := plainTool(front.URL)
		tl.Transport.Headers = map[string]string{"Host": "other.example"}
		connect(t, mcp.Config{Tool: tl, HTTP: client(t), Authorize: func(context.Context, *tool.Challenge) (string, error) { return shown, nil }})
		if got := host.Load(); got != want {
			t.Errorf("with the credential %q the request is for %v, want %s", shown, got, want)
		}
	}
}

// TestConsentNeeded hands on that a person has to agree first, from the listing of
// tools and from a call, none of which was sent.
func TestConsentNeeded(t *testing.T) {
	h := newHost(t, true)
	wanted := &tool.ConsentError{Server: h.URL, Metadata: h.URL + "/meta", Scope: "mail"}
	var agreed atomic.Bool
	h.guard("Bearer anas")
	cfg := mcp.Config{Tool: plainTool(h.URL), HTTP: client(t), Authorize: func(_ context.Context, ch *tool.Challenge) (string, error) {
		switch {
		case agreed.Load():
			return "Bearer anas", nil
		case ch == nil:
			return "", nil
		}
		return "", wanted
	}}
	check := func(what string, err error) {
		t.Helper()
		var needed *tool.ConsentError
		if !errors.As(err, &needed) || needed != wanted {
			t.Errorf("%s: %v, want that consent is needed", what, err)
		}
		mustBeSent(t, err, false)
	}
	_, err := mcp.Connect(t.Context(), cfg)
	check("connecting", err)
	agreed.Store(true)
	s := connect(t, cfg)
	agreed.Store(false)
	_, err = call(t, s, "count")
	check("a call", err)
	if _, err := s.List(t.Context()); !errors.As(err, new(*tool.ConsentError)) {
		t.Errorf("a listing: %v, want that consent is needed", err)
	}
	agreed.Store(true)
	if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "1" {
		t.Errorf("after consent: %s, %v", res.Output, err)
	}
}

// TestCredentialStaysHome has a server send its client on to another, which is not
// shown the credential of the first.
func TestCredentialStaysHome(t *testing.T) {
	other := newHost(t, true)
	h := newHost(t, true)
	f := func(w http.ResponseWriter, _ []byte) bool {
		w.Header().Set("Location", strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/mcp")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	h.before.Store(&f)
	s, err := mcp.Connect(t.Context(), mcp.Config{Tool: plainTool(h.URL), HTTP: client(t), Authorize: func(context.Context, *tool.Challenge) (string, error) {
		return "Bearer secret", nil
	}})
	if err == nil {
		s.Close()
	}
	if got := h.auth.Load(); got != "Bearer secret" {
		t.Errorf("the server itself was shown %v", got)
	}
	if got := other.auth.Load(); got != nil && got != "" {
		t.Errorf("the other server was shown %v", got)
	}
}

// TestEchoedCredential has a server say the credential that it was shown, in every
// place where it can. None of it goes on to the model or the log.
func TestEchoedCredential(t *testing.T) {
	const secret = `sec<ret>&"\\-of-ana`
	say := func(r *http.Request) string { return "you said " + r.Header.Get("Authorization") }
	s := sdk.NewServer(&sdk.Implementation{Name: "echo", Version: "1"}, nil)
	add := func(name string, result func(said string) (*sdk.CallToolResult, error)) {
		s.AddTool(&sdk.Tool{Name: name, Description: secret, InputSchema: map[string]any{"type": "object", "title": secret}}, func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return result("you said " + r.Extra.Header.Get("Authorization"))
		})
	}
	add("text", func(said string) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: said}}}, nil
	})
	add("parts", func(said string) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: said}, &sdk.TextContent{Text: said}}}, nil
	})
	add("structured", func(said string) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{StructuredContent: map[string]any{"said": said}}, nil
	})
	add("fails", func(said string) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: said}}}, nil
	})
	add("breaks", func(said string) (*sdk.CallToolResult, error) {
		return nil, &jsonrpc.Error{Code: -32000, Message: said}
	})
	var refuses atomic.Bool
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuses.Load() {
			http.Error(w, say(r), http.StatusBadRequest)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer host.Close()
	cfg := mcp.Config{Tool: plainTool(host.URL), HTTP: client(t), Authorize: func(context.Context, *tool.Challenge) (string, error) { return "Bearer " + secret, nil }}
	clean := func(what, text string) {
		t.Helper()
		if text == "" || strings.Contains(text, "-of-ana") {
			t.Errorf("%s: %s", what, text)
		}
	}
	c := connect(t, cfg)
	specs, err := c.List(t.Context())
	if err != nil || len(specs) != 5 {
		t.Fatalf("%d tools, %v", len(specs), err)
	}
	for _, spec := range specs {
		clean("the description of "+spec.Name, spec.Description+string(spec.Parameters))
		res, err := call(t, c, spec.Name)
		if err != nil {
			t.Errorf("%s: %v", spec.Name, err)
			continue
		}
		if said := string(res.Output) + res.Error; !strings.Contains(said, "you said Bearer [credential]") {
			t.Errorf("%s says %s", spec.Name, said)
		}
		clean(spec.Name, string(res.Output)+res.Error)
	}
	refuses.Store(true)
	_, err = call(t, c, "text")
	clean("a call that is refused", err.Error())
	_, err = mcp.Connect(t.Context(), cfg)
	clean("a connection that is refused", err.Error())
}

// TestPoolKeepsPeopleApart uses one connection for each person.
func TestPoolKeepsPeopleApart(t *testing.T) {
	h := newHost(t, true)
	var initialized atomic.Int64
	f := func(_ http.ResponseWriter, b []byte) bool {
		if bytes.Contains(b, []byte(`"initialize"`)) {
			initialized.Add(1)
		}
		return false
	}
	h.before.Store(&f)
	p := mcp.NewPool(mcp.PoolConfig{HTTP: client(t), Authorize: func(_ context.Context, c tool.Caller, tl *event.Tool, _ *tool.Challenge) (string, error) {
		return "Bearer " + c.Actor + " " + tl.ServerLabel, nil
	}})
	defer p.Close()
	for _, step := range []struct {
		actor string
		made  int64
	}{{"ana", 1}, {"bob", 2}, {"ana", 2}} {
		s, err := p.Server(t.Context(), tool.Caller{Session: "sess_1", Actor: step.actor}, plainTool(h.URL))
		if err != nil {
			t.Fatal(err)
		}
		if res, err := call(t, s, "text"); err != nil || res.Failed {
			t.Fatal(err, res.Error)
		}
		if got := h.auth.Load(); got != "Bearer "+step.actor+" test" || initialized.Load() != step.made {
			t.Errorf("for %s the server was shown %v, over %d connections, want %d", step.actor, got, initialized.Load(), step.made)
		}
	}
}
