package app_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// spoken is a model's whole answer, as a stream of the chat completions API.
const spoken = `data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello from %s."},"finish_reason":null}]}

data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}

data: [DONE]

`

// speaker answers each request as a model would, and says what was asked for.
type speaker struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newSpeaker(t *testing.T, name string) *speaker {
	s := &speaker{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.RequestURI+" "+r.Header.Get("Proxy-Authorization"))
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, strings.ReplaceAll(spoken, "%s", name))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *speaker) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := strings.Join(s.asked, "\n")
	s.asked = nil
	return heard
}

// What leaves goes through the proxy that the operator set, but for what is said
// to be reached without it, and is counted.
func TestOutboundProxy(t *testing.T) {
	proxy, near := newSpeaker(t, "the proxy"), newSpeaker(t, "nearby")
	cfg := config(t)
	cfg.OutboundProxy = strings.Replace(proxy.URL, "://", "://u:secret@", 1)
	cfg.Models = filepath.Join(t.TempDir(), "models.yaml")
	text := "providers:\n  far: {type: openai_chat, base_url: http://models.test/v1}\n  near: {type: openai_chat, base_url: " + near.URL + "/v1}\n"
	if err := os.WriteFile(cfg.Models, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, cfg)
	says := func(model, fields string) string {
		var made struct{ ID string }
		n.must(&made, "POST", sessions, sessionBody(model, "Hello", fields))
		return n.lastText(made.ID)
	}
	if got := says("far/m", ""); got != "Hello from the proxy." {
		t.Errorf("the model said %q", got)
	}
	if got := proxy.heard(); got != "http://models.test/v1/chat/completions Basic dTpzZWNyZXQ=" {
		t.Errorf("the proxy was asked for %q", got)
	}
	if got := says("near/m", ""); got != "Hello from nearby." {
		t.Errorf("the model said %q", got)
	}
	says("near/m", `,"tools":[{"type":"mcp","server_label":"inside","transport":{"type":"http","server_url":"http://10.0.0.1/mcp"}}]`)
	if got := proxy.heard(); got != "" {
		t.Errorf("the proxy was asked for %q", got)
	}
	metrics := n.do("GET", "/metrics", "").body
	for _, want := range []string{
		`stayd_outbound_requests_total{status="200",use="model"} 3`,
		`stayd_outbound_request_duration_seconds_count{use="model"} 3`,
		`stayd_outbound_requests_total{status="refused",use="mcp"} `,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestBadOutboundProxy(t *testing.T) {
	for _, tt := range []struct{ proxy, direct, want string }{
		{"proxy:3128", "", `outbound-proxy "proxy:3128" is not a URL like http://proxy.example.com:3128`},
		{"ftp://u:secret@proxy", "", `outbound-proxy and outbound-direct: proxy ftp://proxy: the scheme is "ftp"; it may be http, https, socks5 or socks5h`},
		{"http://proxy", "10.0.0.0/33", `outbound-proxy and outbound-direct: what is reached without the proxy, "10.0.0.0/33": it is neither a prefix nor a host; leave out the scheme and the path`},
		{"", ".internal", `outbound-direct says what is reached without a proxy, and there is none; set outbound-proxy`},
	} {
		cfg := config(t)
		if cfg.OutboundProxy = tt.proxy; tt.direct != "" {
			cfg.OutboundDirect = []string{tt.direct}
		}
		if err := cfg.Validate(); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v\nwant %s", tt.proxy, err, tt.want)
		}
	}
}
