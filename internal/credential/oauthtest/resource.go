package oauthtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Resource is an MCP server with the tool "whoami", which takes tokens of a
// provider.
type Resource struct {
	URL    string // of the server, with its path
	Origin string
	issuer *Server

	mu       sync.Mutex
	document func(map[string]any)
	shown    []string
	refuses  bool
}

// Guard returns an MCP server that the provider guards.
func (s *Server) Guard(t testing.TB) *Resource {
	t.Helper()
	r := &Resource{issuer: s}
	hs := httptest.NewUnstartedServer(nil)
	r.Origin = "http://" + hs.Listener.Addr().String()
	r.URL = r.Origin + "/mcp"
	server := mcp.NewServer(&mcp.Implementation{Name: "guarded", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says who calls."}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "You are known here."}}}, nil, nil
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-protected-resource/mcp", r.describe)
	mux.Handle("/mcp", auth.RequireBearerToken(r.verify, &auth.RequireBearerTokenOptions{
		ResourceMetadataURL: r.Origin + "/.well-known/oauth-protected-resource/mcp", Scopes: []string{"openid"},
	})(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)))
	hs.Config.Handler = mux
	hs.Start()
	t.Cleanup(hs.Close)
	return r
}

// verify asks the provider who a token is of.
func (r *Resource) verify(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	r.mu.Lock()
	r.shown = append(r.shown, token)
	refuses := r.refuses
	r.mu.Unlock()
	if refuses {
		return nil, auth.ErrInvalidToken
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.issuer.URL+"/userinfo", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: the provider says %d", auth.ErrInvalidToken, resp.StatusCode)
	}
	return &auth.TokenInfo{Scopes: []string{"openid"}, Expiration: time.Now().Add(time.Minute)}, nil
}

func (r *Resource) describe(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{"resource": r.URL, "authorization_servers": []string{r.issuer.URL}, "scopes_supported": []string{"openid"}}
	r.mu.Lock()
	if r.document != nil {
		r.document(doc)
	}
	r.mu.Unlock()
	writeJSON(w, http.StatusOK, doc)
}

// Describe has what the server says of its protection changed; nil does not.
func (r *Resource) Describe(change func(map[string]any)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.document = change
}

// Refuse has the server take no token, or those of the provider again.
func (r *Resource) Refuse(all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses = all
}

// Shown are the tokens that the server was shown, in order.
func (r *Resource) Shown() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.shown...)
}
