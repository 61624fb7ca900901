package crashtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/pgtest"
)

const (
	// canaryOperations are made on each store, canaryClients of them at a time, and
	// the server is killed canaryKills times in between.
	canaryOperations = 10_000
	canaryClients    = 4
	canaryKills      = 10
	// canaryMark is in every secret, and nowhere else.
	canaryMark = "kq7zxwv8hj"
)

// TestSecretsStaySecret plants secrets in vaults and has the server do everything
// that it does with them, in any order, while it is killed with SIGKILL over and
// over, logs and traces all that it can, and speaks with servers that say back
// whatever they are shown. Then it looks for the secrets in every file that was
// written, in the log, in every answer and in every trace.
func TestSecretsStaySecret(t *testing.T) {
	bin := *program
	if bin == "" {
		bin = build(t)
	}
	for _, store := range strings.Split(*stores, ",") {
		t.Run(store, func(t *testing.T) {
			c := newCanaries(t)
			folders := []string{c.dir}
			var args []string
			if store == "postgres" {
				cluster := pgtest.NewCluster(t)
				args = append(args, "--store", cluster.Database(t, "canaries"), "--vault-key", filepath.Join(c.dir, "vault.keys"))
				folders = append(folders, cluster.Dir())
				makeVaultKey(t, bin, filepath.Join(c.dir, "vault.keys"))
			}
			c.run(bin, args)
			c.report(folders)
		})
	}
}

func makeVaultKey(t *testing.T, bin, name string) {
	t.Helper()
	key, err := exec.CommandContext(t.Context(), bin, "vaults", "key").Output()
	if err != nil {
		t.Fatalf("make a master key: %v", err)
	}
	if err := os.WriteFile(name, key, 0o600); err != nil {
		t.Fatal(err)
	}
}

// canaries are the secrets, and the world that they are of use in.
type canaries struct {
	t      *testing.T
	dir    string
	server *Server
	world  *httptest.Server
	rng    *rand.Rand

	planted  atomic.Int64
	accepted atomic.Int64 // calls of the bank with a secret
	renewed  atomic.Int64
	said     atomic.Int64 // answers in which the world said a secret
	done     atomic.Int64 // operations that were answered
	answered atomic.Int64 // bytes of answers
	traced   atomic.Int64 // bytes of traces

	mu       sync.Mutex
	found    []string
	vaults   []string
	servers  map[string][]canaryCredential // by vault
	sessions []string
}

type canaryCredential struct{ id, kind string }

func newCanaries(t *testing.T) *canaries {
	t.Helper()
	c := &canaries{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(7, 7)), servers: map[string][]canaryCredential{}}
	bank := sdk.NewServer(&sdk.Implementation{Name: "bank", Version: "1"}, nil)
	bank.AddTool(&sdk.Tool{Name: "pay", InputSchema: map[string]any{"type": "object"}}, func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		c.said.Add(1)
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "paid by " + r.Extra.Header.Get("Authorization")}}}, nil
	})
	serve := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return bank }, nil)
	c.world = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch shown := r.Header.Get("Authorization"); {
		case r.URL.Path == "/v1/traces":
			c.trace(w, r)
		case r.URL.Path == "/token":
			c.token(w, r)
		case !strings.Contains(shown, canaryMark):
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "show something", http.StatusUnauthorized)
		case rand.IntN(20) == 0:
			c.said.Add(1)
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q, error_description=%q", "invalid_token", shown))
			http.Error(w, "I do not take "+shown, http.StatusUnauthorized)
		default:
			c.accepted.Add(1)
			serve.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(c.world.Close)
	return c
}

// secret is a new one.
func (c *canaries) secret() string {
	return fmt.Sprintf("s%d-%s-<&>%d", c.planted.Add(1), canaryMark, rand.IntN(1000))
}

// trace is what a collector of traces is told.
func (c *canaries) trace(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	if r.Header.Get("Content-Encoding") != "" {
		c.t.Error("traces are compressed, and cannot be looked into")
	}
	c.look("a trace has", b)
	c.traced.Add(int64(len(b)))
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// token gives out new tokens, or says why not, with all that it was told.
func (c *canaries) token(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	if rand.IntN(10) == 0 {
		c.said.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"temporarily_unavailable","error_description":%s}`, quoted("you said "+string(b)+r.Header.Get("Authorization")))
		return
	}
	c.renewed.Add(1)
	fmt.Fprintf(w, `{"access_token":%s,"refresh_token":%s,"token_type":"Bearer","expires_in":%d}`, quoted(c.secret()), quoted(c.secret()), 1+rand.IntN(90))
}

func (c *canaries) run(bin string, args []string) {
	c.t.Helper()
	scripts, err := filepath.Abs("testdata/scripts")
	if err != nil {
		c.t.Fatal(err)
	}
	args = append([]string{
		"--data", filepath.Join(c.dir, "data"), "--scripts", scripts, "--allow-outbound", "127.0.0.0/8", "--lease-ttl", "1s", "--log-level", "debug",
		"--traces", c.world.URL,
	}, args...)
	if c.server, err = NewServer(bin, filepath.Join(c.dir, "server.log"), args...); err != nil {
		c.t.Fatal(err)
	}
	if err := c.server.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	defer c.server.Kill()
	var load sync.WaitGroup
	for i := range canaryClients {
		rng := rand.New(rand.NewPCG(uint64(i), 11))
		load.Go(func() {
			for c.done.Load() < canaryOperations && c.t.Context().Err() == nil {
				c.operation(rng)
			}
		})
	}
	for kill := int64(1); kill <= canaryKills; kill++ {
		for c.done.Load() < kill*canaryOperations/(canaryKills+1) && c.t.Context().Err() == nil {
			pause(c.t.Context())
		}
		if err := c.server.Kill(); err != nil {
			c.t.Error(err)
		}
		if err := c.server.Start(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	load.Wait()
	c.settle()
	for _, id := range c.sessions {
		for _, what := range []string{"", "/items?limit=100", "/log?limit=100", "/effects", "/turns"} {
			c.call(http.MethodGet, "/v1/agents/sessions/"+id+what, "")
		}
	}
}

// settle waits until the last sessions have come to their ends, or wait for a
// person.
func (c *canaries) settle() {
	limit, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for _, id := range c.sessions[max(0, len(c.sessions)-50):] {
		for limit.Err() == nil {
			var s struct{ Status string }
			json.Unmarshal(c.call(http.MethodGet, "/v1/agents/sessions/"+id, ""), &s)
			if s.Status != "in_progress" {
				break
			}
			pause(limit)
		}
	}
}

// call makes a request until it is answered, and looks into the answer.
func (c *canaries) call(method, path, body string) []byte {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, method, c.server.URL+path, strings.NewReader(body))
		if err != nil {
			c.t.Error(err)
			return nil
		}
		resp, err := http.DefaultClient.Do(req)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err != nil { // it was killed, and is started again
			pause(ctx)
			continue
		}
		c.answered.Add(int64(len(b)))
		var head bytes.Buffer
		resp.Header.Write(&head)
		c.look(method+" "+path+" is answered with", append(head.Bytes(), b...))
		return b
	}
	return nil
}

// look notes where a secret is.
func (c *canaries) look(where string, b []byte) {
	for _, form := range canaryForms {
		if i := bytes.Index(b, form); i >= 0 {
			c.mu.Lock()
			if len(c.found) < 20 {
				c.found = append(c.found, fmt.Sprintf("%s %.300q", where, b[max(0, i-100):min(len(b), i+100)]))
			}
			c.mu.Unlock()
		}
	}
}

// canaryForms are what the mark of a secret may be written as: plain, in
// hexadecimal, and in base64 wherever it begins in three bytes.
var canaryForms = func() [][]byte {
	forms := [][]byte{[]byte(canaryMark), []byte(hex.EncodeToString([]byte(canaryMark))), []byte(strings.ToUpper(hex.EncodeToString([]byte(canaryMark))))}
	for cut := range 3 {
		whole := base64.StdEncoding.EncodeToString([]byte(canaryMark[cut:]))
		forms = append(forms, []byte(whole[:len(canaryMark[cut:])/3*4]))
	}
	return forms
}()

func (c *canaries) pick(rng *rand.Rand, from *[]string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(*from) == 0 {
		return ""
	}
	return (*from)[rng.IntN(len(*from))]
}

// quoted is a text of ASCII as JSON has it.
func quoted(s string) string { return strconv.Quote(s) }

// operation makes one operation that is left to chance.
func (c *canaries) operation(rng *rand.Rand) {
	defer c.done.Add(1)
	vault := c.pick(rng, &c.vaults)
	session := c.pick(rng, &c.sessions)
	n := rng.IntN(100)
	switch {
	case vault == "" || n < 3:
		c.newVault(rng)
	case n < 15:
		c.newCredential(rng, vault)
	case n < 45:
		c.rotate(rng, vault)
	case n < 52:
		c.call(http.MethodGet, "/v1/vaults/"+vault+"/credentials?limit=100", "")
	case n < 55:
		c.call(http.MethodGet, "/v1/vaults?limit=20", "")
	case n < 57:
		c.remove(rng, vault)
	case n < 62:
		c.refused(rng, vault)
	case n < 78 || session == "":
		c.newSession(vault)
	case n < 82:
		c.call(http.MethodPost, "/v1/agents/sessions/"+session+"/events", `{"events":[{"type":"agent.session.input.message","input":[{"role":"user","content":[{"type":"input_text","text":"again"}]}]}]}`)
	case n < 86:
		c.call(http.MethodGet, "/v1/agents/sessions/"+session+"/items?limit=100", "")
	case n < 90:
		c.call(http.MethodGet, "/v1/agents/sessions/"+session+"/log?limit=100", "")
	case n < 93:
		c.call(http.MethodGet, "/v1/agents/sessions/"+session+"/effects", "")
	case n < 95:
		c.call(http.MethodPost, "/v1/agents/sessions/"+session+"/fork", `{}`)
	case n < 97:
		c.call(http.MethodGet, "/metrics", "")
	case n < 98:
		c.call(http.MethodGet, "/v1/agents/sessions?limit=20", "")
	default:
		c.call(http.MethodDelete, "/v1/agents/sessions/"+session, "")
	}
}

func (c *canaries) newVault(rng *rand.Rand) {
	var made struct{ ID string }
	if json.Unmarshal(c.call(http.MethodPost, "/v1/vaults", `{}`), &made) != nil || made.ID == "" {
		return
	}
	c.newCredential(rng, made.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.vaults = append(c.vaults, made.ID)
}

// auth is a credential for the bank, of one kind or another, with new secrets.
func (c *canaries) auth(kind string) string {
	switch kind {
	case "static_bearer":
		return `{"type":"static_bearer","mcp_server_url":"` + c.world.URL + `/mcp","token":` + quoted(c.secret()) + `}`
	case "environment_variable":
		return `{"type":"environment_variable","secret_name":"KEY","networking":{"type":"unrestricted"},"secret_value":` + quoted(c.secret()) + `}`
	}
	return `{"type":"mcp_oauth","mcp_server_url":"` + c.world.URL + `/mcp","access_token":` + quoted(c.secret()) + `,"expires_at":"2026-01-01T00:00:00Z","refresh":{"client_id":"c","refresh_token":` + quoted(c.secret()) +
		`,"token_endpoint":"` + c.world.URL + `/token","token_endpoint_auth":{"type":"client_secret_post","client_secret":` + quoted(c.secret()) + `}}}`
}

func (c *canaries) newCredential(rng *rand.Rand, vault string) {
	c.mu.Lock()
	kinds := []string{"static_bearer", "mcp_oauth", "environment_variable"}
	// The bank takes one credential of each vault, so that it is clear which.
	if slices.ContainsFunc(c.servers[vault], func(k canaryCredential) bool { return k.kind != "environment_variable" }) {
		kinds = kinds[2:]
	} else {
		kinds = kinds[:2]
	}
	c.mu.Unlock()
	kind := kinds[rng.IntN(len(kinds))]
	var made struct{ ID string }
	if json.Unmarshal(c.call(http.MethodPost, "/v1/vaults/"+vault+"/credentials", `{"name":"n","auth":`+c.auth(kind)+`}`), &made) != nil || made.ID == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[vault] = append(c.servers[vault], canaryCredential{made.ID, kind})
}

func (c *canaries) one(rng *rand.Rand, vault string) (k canaryCredential, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.servers[vault]
	if len(all) == 0 {
		return k, false
	}
	return all[rng.IntN(len(all))], true
}

func (c *canaries) rotate(rng *rand.Rand, vault string) {
	k, ok := c.one(rng, vault)
	if !ok {
		return
	}
	auth := map[string]string{
		"static_bearer":        `{"type":"static_bearer","token":` + quoted(c.secret()) + `}`,
		"environment_variable": `{"type":"environment_variable","secret_value":` + quoted(c.secret()) + `}`,
		"mcp_oauth":            `{"type":"mcp_oauth","access_token":` + quoted(c.secret()) + `,"expires_at":"2026-01-01T00:00:00Z","refresh":{"refresh_token":` + quoted(c.secret()) + `}}`,
	}[k.kind]
	c.call(http.MethodPost, "/v1/vaults/"+vault+"/credentials/"+k.id, `{"auth":`+auth+`}`)
}

func (c *canaries) remove(rng *rand.Rand, vault string) {
	if k, ok := c.one(rng, vault); ok && rng.IntN(3) > 0 {
		c.call(http.MethodDelete, "/v1/vaults/"+vault+"/credentials/"+k.id, "")
		c.mu.Lock()
		c.servers[vault] = slices.DeleteFunc(c.servers[vault], func(x canaryCredential) bool { return x.id == k.id })
		c.mu.Unlock()
		return
	}
	c.call(http.MethodDelete, "/v1/vaults/"+vault, "")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.vaults = slices.DeleteFunc(c.vaults, func(id string) bool { return id == vault })
}

// refused are requests with secrets that are wrong in some way.
func (c *canaries) refused(rng *rand.Rand, vault string) {
	s := quoted(c.secret())
	bodies := []string{
		`{"name":"n","auth":{"type":"static_bearer","token":` + s + `}}`,
		`{"name":"n","auth":{"type":"static_bearer","mcp_server_url":"ftp://x","token":` + s + `}}`,
		`{"name":"n","auth":{"type":"static_bearer","mcp_server_url":"https://u:` + c.secret() + `@x.example","token":"t"}}`,
		`{"name":"n","auth":{"type":` + s + `}}`,
		`{"name":"n","auth":{"type":"static_bearer","token":[` + s + `]}}`,
		`{"name":"n","auth":{"type":"static_bearer","token":` + s,
		`{"name":"n","auth":` + s + `}`,
	}
	path := "/v1/vaults/" + vault + "/credentials"
	if rng.IntN(4) == 0 {
		path = "/v1/vaults/vault_none/credentials"
	}
	c.call(http.MethodPost, path, bodies[rng.IntN(len(bodies))])
}

func (c *canaries) newSession(vault string) {
	var made struct{ ID string }
	body := `{"environment":{"type":"none"},"input":"pay","vault_ids":["` + vault + `"],"agent":{"model":"script/canary","tools":[{"type":"mcp","server_label":"bank","transport":{"type":"http","server_url":"` + c.world.URL + `/mcp"}}]}}`
	if json.Unmarshal(c.call(http.MethodPost, "/v1/agents/sessions", body), &made) != nil || made.ID == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions = append(c.sessions, made.ID)
}

// report looks into all files, and says what was found.
func (c *canaries) report(folders []string) {
	c.t.Helper()
	scanned := 0
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(name)
			scanned += len(b)
			c.look(name+" has", b)
			return err
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	for _, found := range c.found {
		c.t.Error(found)
	}
	log, err := c.server.Log()
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("%d secrets, %d operations, %d kills; %d calls were taken with a secret, %d tokens renewed, secrets said back %d times; in none of %d bytes written, %d answered and %d of traces",
		c.planted.Load(), c.done.Load(), canaryKills, c.accepted.Load(), c.renewed.Load(), c.said.Load(), scanned, c.answered.Load(), c.traced.Load())
	if c.planted.Load() < 1000 || c.accepted.Load() < 1000 || c.renewed.Load() < 20 || c.said.Load() < 100 || scanned < 5_000_000 || c.traced.Load() < 1_000_000 || strings.Count(log, "a request was answered") < canaryOperations/2 {
		c.t.Error("the run did not do what it is there to do")
	}
}

// TestCanaryForms shows that what is looked for is found.
func TestCanaryForms(t *testing.T) {
	const secret = "s12-" + canaryMark + "-<&>1"
	c := &canaries{}
	for i, text := range []string{
		"a " + secret + " b", quoted(secret), hex.EncodeToString([]byte(secret)), fmt.Sprintf("%X", secret), url.QueryEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("x" + secret)), base64.RawURLEncoding.EncodeToString([]byte("xy" + secret)),
	} {
		c.look("", []byte(text))
		if len(c.found) != i+1 {
			t.Errorf("%q is not found", text)
		}
	}
	if c.look("", []byte("nothing of the kind")); len(c.found) != 8 {
		t.Errorf("found %q", c.found[8:])
	}
}
