// Package oauthtest is a server that issues tokens for tests: a whole OpenID
// Connect provider on loopback, whose user signs in at once. Beside that it
// registers clients, reads the documents of others where it is told to, says who it
// is in its answers, and counts what it is asked.
// Resource is an MCP server that it guards.
package oauthtest

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"
)

// Clients that the provider knows. Registered is what it answers to who registers
// a client; it has no secret. Service gets tokens for itself, by ServiceSecret.
const (
	Registered    = "registered"
	Web           = "web"
	WebSecret     = "web-canary-secret"
	Service       = "sid1"
	ServiceSecret = "verysecret"
)

// user is the one who signs in.
const user, password = "test-user2", "verysecure"

// Server is the provider, until the test ends.
type Server struct {
	URL      string
	storage  *clients
	provider *op.Provider

	mu       sync.Mutex
	count    map[string]int
	secrets  []string
	document func(map[string]any) // changes what it says of itself
	answer   func(url.Values)     // changes what browsers bring back
	before   func(grant string)   // is called before tokens are given
}

// Start returns a provider that sends browsers back to the URI.
func Start(t testing.TB, redirectURI string) *Server {
	t.Helper()
	s := &Server{count: map[string]int{}}
	hs := httptest.NewUnstartedServer(nil)
	s.URL = "http://" + hs.Listener.Addr().String()
	s.storage = &clients{Storage: storage.NewStorageWithClients(storage.NewUserStore(s.URL), map[string]*storage.Client{
		Registered: storage.NativeClient(Registered, redirectURI), Web: storage.WebClient(Web, WebSecret, redirectURI),
	})}
	config := &op.Config{
		CryptoKey: [32]byte{1}, CodeMethodS256: true, AuthMethodPost: true, AuthMethodPrivateKeyJWT: true, GrantTypeRefreshToken: true, SupportedUILocales: []language.Tag{language.English},
	}
	var err error
	s.provider, err = op.NewProvider(config, s.storage, op.StaticIssuer(s.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatalf("make the provider: %v", err)
	}
	hs.Config.Handler = s.handler()
	hs.Start()
	t.Cleanup(hs.Close)
	return s
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.describe)
	mux.HandleFunc("POST /register", s.register)
	mux.HandleFunc("GET /login/username", s.login)
	mux.HandleFunc("POST /oauth/token", s.token)
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		s.add("revoke")
		s.provider.ServeHTTP(w, r)
	})
	mux.Handle("/", s.provider)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/authorize") {
			w = &naming{ResponseWriter: w, server: s}
		}
		mux.ServeHTTP(w, r)
	})
}

// describe is the provider's own document, with what else is there.
func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	s.add("describe")
	own := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.URL.Path = "/.well-known/openid-configuration"
	s.provider.ServeHTTP(own, r)
	var doc map[string]any
	if err := json.Unmarshal(own.Body.Bytes(), &doc); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	doc["registration_endpoint"], doc["authorization_response_iss_parameter_supported"] = s.URL+"/register", true
	doc["client_id_metadata_document_supported"] = s.storage.documents() != nil
	doc["token_endpoint_auth_signing_alg_values_supported"] = []string{"RS256", "ES256"}
	s.mu.Lock()
	if s.document != nil {
		s.document(doc)
	}
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, doc)
}

func writeJSON(w http.ResponseWriter, status int, doc map[string]any) {
	data, err := json.Marshal(doc)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

func (s *Server) register(w http.ResponseWriter, _ *http.Request) {
	s.add("register")
	writeJSON(w, http.StatusCreated, map[string]any{"client_id": Registered, "token_endpoint_auth_method": "none"})
}

// login signs the user in without a question.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("authRequestID")
	if err := s.storage.CheckUsernamePassword(user, password, id); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, op.AuthCallbackURL(s.provider)(op.ContextWithIssuer(r.Context(), s.URL), id), http.StatusFound)
}

// token hands a request for tokens on, and notes what was sent and given.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	grant := form.Get("grant_type")
	s.add(grant)
	s.mu.Lock()
	for _, name := range []string{"code", "code_verifier", "refresh_token", "client_secret", "client_assertion"} {
		s.secrets = append(s.secrets, form.Get(name))
	}
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(grant)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	given := httptest.NewRecorder()
	s.provider.ServeHTTP(given, r)
	var tokens map[string]any
	if json.Unmarshal(given.Body.Bytes(), &tokens) == nil {
		s.mu.Lock()
		for _, name := range []string{"access_token", "refresh_token", "id_token"} {
			if token, ok := tokens[name].(string); ok {
				s.secrets = append(s.secrets, token)
			}
		}
		s.mu.Unlock()
	}
	for k, v := range given.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(given.Code)
	_, _ = w.Write(given.Body.Bytes())
}

func (s *Server) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[what]++
}

// Count is how often the provider was asked: for the tokens of a grant
// ("refresh_token"), to "register", to "revoke", to "describe" itself.
func (s *Server) Count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[what]
}

// Secrets are all that was sent or given and that nobody else may see.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, one := range s.secrets {
		if one != "" {
			out = append(out, one)
		}
	}
	return append(out, WebSecret)
}

// Describe has what the provider says of itself changed; nil does not.
func (s *Server) Describe(change func(map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.document = change
}

// Answer has what browsers bring back from the provider changed; nil does not.
func (s *Server) Answer(change func(url.Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = change
}

// Before has a function called before tokens are given; nil has none.
func (s *Server) Before(call func(grant string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = call
}

// Forget has the provider know no token of the client any more.
func (s *Server) Forget(t testing.TB, client string) {
	t.Helper()
	if err := s.storage.TerminateSession(t.Context(), "id2", client); err != nil {
		t.Fatal(err)
	}
}

// naming says who answers (RFC 9207), in what the browser brings back.
type naming struct {
	http.ResponseWriter
	server *Server
}

func (n *naming) WriteHeader(status int) {
	if to, err := url.Parse(n.Header().Get("Location")); err == nil && (to.Query().Has("code") || to.Query().Has("error")) {
		q := to.Query()
		q.Set("iss", n.server.URL)
		n.server.mu.Lock()
		if n.server.answer != nil {
			n.server.answer(q)
		}
		n.server.mu.Unlock()
		to.RawQuery = q.Encode()
		n.Header().Set("Location", to.String())
	}
	n.ResponseWriter.WriteHeader(status)
}
