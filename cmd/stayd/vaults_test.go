package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/vaults"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
	"github.com/stayd/stayd/internal/vault/masters"
)

// vaultServer is a server of vaults on a data folder, whose answers to rewrap can
// be taken away.
type vaultServer struct {
	t      *testing.T
	data   string
	vaults *vault.Vaults
	away   bool
}

func newVaultServer(t *testing.T) *vaultServer {
	t.Helper()
	s := &vaultServer{t: t, data: t.TempDir()}
	log := slog.New(slog.DiscardHandler)
	st, err := sqlite.Open(t.Context(), filepath.Join(s.data, "stayd.db"), sqlite.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	master, err := masters.Open(t.Context(), masters.Place{Data: s.data})
	if err != nil {
		t.Fatal(err)
	}
	s.vaults = vault.New(st, master, time.Now)
	door := httpapi.New(httpapi.Config{Log: log, Version: "test", Stopping: make(chan struct{})})
	vaults.Mount(door, vaults.Config{Vaults: s.vaults, KeyClient: func(string, string) (bool, error) { return false, nil }})
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.away && strings.HasSuffix(r.URL.Path, "/rewrap") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		door.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		hs.Close()
		st.Close()
	})
	t.Setenv("STAYD_SERVER", hs.URL)
	return s
}

// run plays a command and returns what it printed.
func (s *vaultServer) run(in string, args ...string) (string, error) {
	s.t.Helper()
	var out bytes.Buffer
	cmd := newVaults()
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(s.t.Context())
	return out.String(), err
}

// must plays a command whose output matches the pattern, and returns the
// pattern's group.
func (s *vaultServer) must(in, pattern string, args ...string) string {
	s.t.Helper()
	out, err := s.run(in, args...)
	m := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if err != nil || m == nil {
		s.t.Fatalf("stayd vaults %s: %q (%v), want %s", strings.Join(args, " "), out, err, pattern)
	}
	return m[len(m)-1]
}

func (s *vaultServer) token(id string) string {
	s.t.Helper()
	o, err := s.vaults.OpenServer(s.t.Context(), httpapi.DefaultProject, []string{id}, "", "https://mcp.example.com/mcp", "")
	if err != nil || o == nil {
		s.t.Fatalf("open: %v %v", o, err)
	}
	return o.Secrets.Token.Reveal()
}

// TestVaultCommands keeps credentials at the command line.
func TestVaultCommands(t *testing.T) {
	s := newVaultServer(t)
	id := s.must("", `^(vault_\w+)\n$`, "create", "--name", "team", "--metadata", "a=b")
	s.must("", id+` +team +`, "list")
	s.must("", `"metadata":\{"a":"b"\}`, "list", "--json")
	token := s.must("top secret\n", `^(cred_\w+) for https://mcp\.example\.com/mcp\n$`, "add", id, "--name", "mail", "--mcp-server", "https://mcp.example.com/mcp")
	if got := s.token(id); got != "top secret" {
		t.Errorf("the token is %q", got)
	}
	s.must("v", `^cred_\w+ for KEY to a\.example\.com, b\.example\.com\n$`, "add", id, "--name", "api", "--variable", "KEY", "--host", "a.example.com,b.example.com")
	s.must("hers", `^cred_\w+ for https://mcp\.example\.com/mcp\n$`, "add", id, "--name", "hers", "--actor", "ann", "--mcp-server", "https://mcp.example.com/mcp")
	s.must("", `hers +static_bearer +ann +https`, "credentials", id, "--actor", "ann")
	clientArgs := []string{"add", id, "--name", "crm", "--mcp-server", "https://crm.example.com/mcp", "--client-id", "stayd", "--token-endpoint", "https://login.example.com/token"}
	crm := s.must("client secret", `^(cred_\w+) for https://crm\.example\.com/mcp\n$`, append(clientArgs, "--scope", "read write")...)
	s.must("", `"scope":"read write"`, "credentials", id, "--json")
	people := s.must("", `^(cred_\w+) for`, append(clientArgs, "--grant", "authorization_code", "--client-auth", "none")...)
	keyed := s.must("", `^(cred_\w+) for`, append(clientArgs, "--client-auth", "key", "--client-audience", "https://login.example.com")...)
	s.must("", `"type":"private_key_jwt","audience":"https://login.example.com"`, "credentials", id, "--json")
	s.must("", `^deleted `+keyed+`\n$`, "remove", id, keyed)
	s.must("", `^deleted `+crm+`\ndeleted (`+people+`)\n$`, "remove", id, crm, people)
	s.must("v", `^cred_\w+ for OTHER to any host`, "add", id, "--name", "api", "--variable", "OTHER")
	if listed, err := s.run("", "credentials", id); err != nil || strings.Count(listed, "cred_") != 4 || strings.Contains(listed, "secret ") {
		t.Errorf("listed: %s (%v)", listed, err)
	}
	for _, c := range []struct {
		in, want string
		args     []string
	}{
		{"", "there is no secret", []string{"add", id, "--name", "n", "--variable", "KEY"}},
		{"a\xff", "is not UTF-8", []string{"add", id, "--name", "n", "--variable", "KEY"}},
		{"x", "name the credential", []string{"add", id, "--variable", "KEY"}},
		{"x", "--mcp-server URL, or --variable NAME", []string{"add", id, "--name", "n"}},
		{"x", "--mcp-server URL, or --variable NAME", []string{"add", id, "--name", "n", "--variable", "KEY", "--mcp-server", "https://a"}},
		{"x", "--host goes with --variable", []string{"add", id, "--name", "n", "--host", "a", "--mcp-server", "https://a"}},
		{"x", "--token-endpoint URL", []string{"add", id, "--name", "n", "--mcp-server", "https://a", "--client-id", "c"}},
		{"x", "basic, post, key or none", []string{"add", id, "--name", "n", "--mcp-server", "https://a", "--client-id", "c", "--token-endpoint", "https://a", "--client-auth", "jwt"}},
		{"x", "--client-id goes with --mcp-server", []string{"add", id, "--name", "n", "--variable", "KEY", "--client-id", "c", "--token-endpoint", "https://a"}},
		{"x", "go with --client-id", []string{"add", id, "--name", "n", "--mcp-server", "https://a", "--scope", "x"}},
		{"x", "auth.mcp_server_url", []string{"add", id, "--name", "n", "--mcp-server", "http://a.example.com"}},
	} {
		if out, err := s.run(c.in, c.args...); err == nil || !strings.Contains(message(err), c.want) {
			t.Errorf("%v: %q %v, want %q", c.args, out, err, c.want)
		}
	}
	s.must("", `^deleted `+token+`\n$`, "remove", id, token)
	s.must("", `^deleted `+id+`\n$`, "delete", id)
	if listed, err := s.run("", "list"); err != nil || strings.Contains(listed, id) {
		t.Errorf("listed: %s (%v)", listed, err)
	}
}

// TestVaultsRotate rotates the master key of a server that runs, also where it was
// interrupted before.
func TestVaultsRotate(t *testing.T) {
	s := newVaultServer(t)
	file := filepath.Join(s.data, "vault.keys")
	current := func() string {
		t.Helper()
		k, err := keyfile.Open(file, false)
		if err != nil {
			t.Fatal(err)
		}
		id, err := k.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := s.must("", `(vault_\w+)`, "create")
	s.must("token", `cred_`, "add", id, "--name", "n", "--mcp-server", "https://mcp.example.com/mcp")
	first := current()
	second := s.must("", `^the key of 1 vault is under the new master key (\w+); `+first+` is gone\n$`, "rotate", "--data", s.data)
	if current() != second || s.token(id) != "token" {
		t.Errorf("the current key is %s, want %s; the token is %q", current(), second, s.token(id))
	}

	s.away = true
	if out, err := s.run("", "rotate", "--data", s.data); err == nil || !strings.Contains(err.Error(), "the old master key is kept") {
		t.Errorf("interrupted: %q %v", out, err)
	}
	third := current()
	if third == second || s.token(id) != "token" {
		t.Errorf("half-way the current key is %s, after %s", third, second)
	}
	s.away = false
	s.must("", `^the key of 1 vault is under the new master key `+third+`; `+second+` is gone\n$`, "rotate", "--data", s.data)

	if out, err := s.run("", "rotate", "--data", t.TempDir()); err == nil || !strings.Contains(err.Error(), "run this where the server runs") {
		t.Errorf("elsewhere: %q %v", out, err)
	}
	other := filepath.Join(t.TempDir(), "other.keys")
	if err := os.WriteFile(other, []byte(s.must("", `(?s)^(.+)$`, "key")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STAYD_VAULT_KEY", other)
	if out, err := s.run("", "rotate", "--data", s.data); err == nil || !strings.Contains(err.Error(), "the server encrypts under the master key "+third) {
		t.Errorf("another file: %q %v", out, err)
	}
	t.Setenv("STAYD_VAULT_KEY", "env:KEYS")
	s.must("", `^the key of 1 vault is under the master key `+third+`, 0 of them anew\n$`, "rotate", "--data", s.data)
	if got := s.token(id); got != "token" {
		t.Errorf("in the end the token is %q", got)
	}
}
