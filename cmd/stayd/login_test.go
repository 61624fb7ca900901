package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

// serveIssuers runs a server that takes tokens of the issuers in the file, in which
// ISSUER is the provider's URL, and returns its URL. Logins of the test are kept in
// a folder of its own.
func serveIssuers(t *testing.T, p *oidctest.Provider, file string) string {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("STAYD_API_KEY", "")
	t.Setenv("STAYD_SERVER", "")
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := app.Default()
	cfg.Data, cfg.PublicURL = t.TempDir(), "http://"+l.Addr().String()
	if file != "" {
		if cfg.Issuers, err = oidc.Parse("issuers.yaml", []byte(strings.ReplaceAll(file, "ISSUER", p.URL))); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Open(ctx, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return cfg.PublicURL
}

// terminal is what a command writes while it runs.
type terminal struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // has a value after a write
}

func (o *terminal) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *terminal) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// play runs a command line in this process.
func play(o *terminal, args ...string) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(o)
	root.SetErr(o)
	return root.ExecuteContext(context.Background())
}

// says runs a command that succeeds, and returns what it wrote.
func says(t *testing.T, args ...string) string {
	t.Helper()
	o := &terminal{}
	if err := play(o, args...); err != nil {
		t.Fatalf("stayd %s: %s", strings.Join(args, " "), message(err))
	}
	return o.String()
}

// refuses runs a command that fails, with a message that contains the text.
func refuses(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	o := &terminal{}
	err := play(o, args...)
	if err == nil || exitCode(err) != code || !strings.Contains(message(err), text) {
		t.Errorf("stayd %s: code %d, %v; want %d, %q", strings.Join(args, " "), exitCode(err), err, code, text)
	}
}

var userCode = regexp.MustCompile(`and enter the code (\S+)\n`)

// logInAs runs `stayd login` and has the user decide when it has told the code.
func logInAs(t *testing.T, decide func(code string), args ...string) (string, error) {
	t.Helper()
	o := &terminal{wrote: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() { done <- play(o, append([]string{"login"}, args...)...) }()
	for decided := false; ; {
		select {
		case err := <-done:
			return o.String(), err
		case <-o.wrote:
		}
		if m := userCode.FindStringSubmatch(o.String()); m != nil && !decided {
			decided = true
			decide(m[1])
		}
	}
}

func ann(p *oidctest.Provider) func(string) {
	return func(code string) { p.Approve(code, "ann") }
}

const issuerOfCLI = `
issuers:
  - issuer: ISSUER
    audience: [stayd, stayd-cli]
    client_id: stayd-cli
    scopes: [openid, offline_access]
    principals:
      - {claims: {groups: ops}, project: infra, scope: write, actor: sub}
`

func options() oidctest.Options {
	return oidctest.Options{Audience: []string{"stayd"}, Claims: map[string]map[string]any{"ann": {"groups": []string{"ops"}}}}
}

// loginFile is the only file of a login.
func loginFile(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "stayd", "logins", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of logins: %q, %v", files, err)
	}
	return files[0]
}

// kept is what a login keeps.
func kept(t *testing.T) (in struct{ Server, Shown, Token, RefreshToken string }) {
	t.Helper()
	data, err := os.ReadFile(loginFile(t))
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	in.Server, in.Shown, in.Token, in.RefreshToken = fmt.Sprint(raw["server"]), fmt.Sprint(raw["shown"]), fmt.Sprint(raw["token"]), fmt.Sprint(raw["refresh_token"])
	return in
}

// TestLogin logs in by the device flow, works with the token, and logs out.
func TestLogin(t *testing.T) {
	p := oidctest.Start(t, options())
	server := serveIssuers(t, p, issuerOfCLI)
	refuses(t, exitFailed, "`stayd login` gets a token", "whoami", "--server", server)
	out, err := logInAs(t, ann(p), "--url", server+"/")
	if err != nil {
		t.Fatal(message(err))
	}
	who := strings.TrimPrefix(p.URL, "http://") + "#ann, in the project infra with the scope write, acting for ann\n"
	for _, want := range []string{
		"To log in to " + server + ", open\n\n  " + p.URL + "/device\n\nand enter the code ",
		"(or open " + p.URL + "/device?user_code=",
		"logged in to " + server + " as " + who,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("login wrote %q, without %q", out, want)
		}
	}
	if in := kept(t); in.Shown != "access_token" || in.Server != server {
		t.Errorf("kept %+v", in)
	}
	if info, err := os.Stat(loginFile(t)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file of the login is %v, %v", info.Mode(), err)
	}
	if got := says(t, "whoami", "--server", server); got != who {
		t.Errorf("whoami says %q, want %q", got, who)
	}
	says(t, "sessions", "list", "--server", server)
	refuses(t, exitFailed, "This needs the scope 'admin', and the token provided gives 'write'.", "keys", "list", "--server", server)

	// A key goes before the login.
	t.Setenv("STAYD_API_KEY", "stayd_none")
	refuses(t, exitFailed, "Incorrect API key provided.", "whoami", "--server", server)
	t.Setenv("STAYD_API_KEY", "")

	refresh := kept(t).RefreshToken
	if got := says(t, "logout", "--url", server); got != "logged out of "+server+"\n" {
		t.Errorf("logout says %q", got)
	}
	if got := p.Revoked(); len(got) != 1 || got[0] != refresh {
		t.Errorf("revoked %q, want %q", got, refresh)
	}
	refuses(t, exitFailed, "`stayd login` gets a token", "whoami", "--server", server)
	refuses(t, exitFailed, "you are not logged in to "+server, "logout", "--url", server)
}

// TestLoginByIDToken has the ID token shown where the access token says nothing.
func TestLoginByIDToken(t *testing.T) {
	o := options()
	o.Opaque = true
	p := oidctest.Start(t, o)
	server := serveIssuers(t, p, issuerOfCLI)
	if _, err := logInAs(t, ann(p), "--url", server); err != nil {
		t.Fatal(message(err))
	}
	if in := kept(t); in.Shown != "id_token" {
		t.Errorf("kept %+v", in)
	}
	t.Setenv("STAYD_API_KEY", "stayd_none")
	if out, err := logInAs(t, ann(p), "--url", server, "--issuer", p.URL); err != nil || !strings.HasSuffix(out, "STAYD_API_KEY is set, and commands show that instead\n") {
		t.Errorf("a second login wrote %q, %v", out, err)
	}
	t.Setenv("STAYD_API_KEY", "")
	t.Setenv("STAYD_SERVER", server)
	if got := says(t, "whoami", "--json"); !strings.Contains(got, `"project":"infra","scope":"write","actor":"ann"`) {
		t.Errorf("whoami says %q", got)
	}
}

// TestLoginRenewed renews a token that is about to expire, once for commands that
// run at the same time, and says what to do when it cannot.
func TestLoginRenewed(t *testing.T) {
	o := options()
	o.Lifetime = 30 * time.Second // less than a minute, so that it is due at once
	p := oidctest.Start(t, o)
	server := serveIssuers(t, p, issuerOfCLI)
	if _, err := logInAs(t, ann(p), "--url", server); err != nil {
		t.Fatal(message(err))
	}
	first := kept(t)
	says(t, "whoami", "--server", server)
	second := kept(t)
	if first.Token == second.Token || first.RefreshToken == second.RefreshToken {
		t.Errorf("not renewed: %+v", second)
	}
	// The provider takes a refresh token once. From now on tokens last.
	p.Set(func(o *oidctest.Options) { o.Lifetime = 0 })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := play(&terminal{}, "whoami", "--server", server); err != nil {
				t.Errorf("at the same time: %v", err)
			}
		})
	}
	all.Wait()
	third := kept(t)
	says(t, "whoami", "--server", server)
	if fourth := kept(t); fourth != third || third.Token == second.Token {
		t.Errorf("renewed although it lasts: %+v, then %+v", third, fourth)
	}
}

// TestLoginOver has a login that nothing helps but another one.
func TestLoginOver(t *testing.T) {
	o := options()
	o.Lifetime = 30 * time.Second
	p := oidctest.Start(t, o)
	server := serveIssuers(t, p, issuerOfCLI)
	if _, err := logInAs(t, ann(p), "--url", server); err != nil {
		t.Fatal(message(err))
	}
	// While the issuer is away, what still lasts is shown.
	p.SetDown(true)
	if got := says(t, "whoami", "--server", server); !strings.Contains(got, "#ann") {
		t.Errorf("whoami says %q", got)
	}
	p.SetDown(false)
	p.RevokeAll()
	refuses(t, exitFailed, "run `stayd login --url "+server+"`", "whoami", "--server", server)
	if err := os.WriteFile(loginFile(t), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, exitFailed, "cannot be read", "whoami", "--server", server)
	p.Set(func(o *oidctest.Options) { o.Lifetime = time.Nanosecond })
	if _, err := logInAs(t, ann(p), "--url", server); err != nil {
		t.Errorf("another login: %v", err)
	}
	p.SetDown(true)
	refuses(t, exitFailed, "the token for "+server+" expired, and cannot be renewed now: ", "whoami", "--server", server)
	refuses(t, exitFailed, "ask the issuer "+p.URL+" about itself: ", "login", "--url", server)
	refuses(t, exitFailed, "the token is removed here, and may still be good: revoke the login: ", "logout", "--url", server)
	refuses(t, exitFailed, "you are not logged in", "logout", "--url", server)
}

// TestLoginRefused has logins that come to nothing, of which nothing is kept.
func TestLoginRefused(t *testing.T) {
	p := oidctest.Start(t, options())
	server := serveIssuers(t, p, issuerOfCLI)
	for _, tt := range []struct {
		name   string
		decide func(string)
		want   string
	}{
		{"by the user", func(code string) { p.Deny(code) }, "it was refused there"},
		{"by the server", func(code string) { p.Approve(code, "eve") }, "the issuer let you in, but the server does not: The token is good, and gives 'eve' no project of this server: it has no claim 'groups'."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := logInAs(t, tt.decide, "--url", server); err == nil || !strings.Contains(message(err), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "stayd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was kept: %v", err)
	}
	alias := strings.Replace(server, "127.0.0.1", "localhost", 1)
	refuses(t, exitFailed, "the server at "+alias+" says that it is "+server, "login", "--url", alias)
	refuses(t, exitUsage, "is not reached by https", "login", "--url", "http://stayd.example.com")
	refuses(t, exitUsage, "is not a URL like", "login", "--url", "stayd.example.com")
	refuses(t, exitUsage, "choose with --issuer whose token to get for "+server+": "+p.URL, "login", "--url", server, "--issuer", "https://other.example.com")
	t.Setenv("STAYD_DATA", t.TempDir())
	refuses(t, exitUsage, "name the server with --url or STAYD_SERVER", "login")
}

// TestLoginNotOffered has servers that offer none.
func TestLoginNotOffered(t *testing.T) {
	p := oidctest.Start(t, options())
	refuses(t, exitFailed, "takes no tokens of other issuers; use an API key", "login", "--url", serveIssuers(t, p, ""))
	without := strings.NewReplacer("    client_id: stayd-cli\n", "", "    scopes: [openid, offline_access]\n", "").Replace(issuerOfCLI)
	refuses(t, exitFailed, "none of its issuers has a client_id for `stayd login`", "login", "--url", serveIssuers(t, p, without))
	unknown := strings.Replace(issuerOfCLI, "client_id: stayd-cli", "client_id: nobody", 1)
	refuses(t, exitFailed, "begin the login at "+p.URL, "login", "--url", serveIssuers(t, p, unknown))
}

// TestServerOfTheDataFolder shows a key to the server that the data folder names
// where that is on this machine, and to no other.
func TestServerOfTheDataFolder(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("STAYD_SERVER", "")
	t.Setenv("STAYD_API_KEY", "stayd_canary")
	data := t.TempDir()
	t.Setenv("STAYD_DATA", data)
	name := func(server string) {
		if err := os.WriteFile(filepath.Join(data, urlFile), []byte(server+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range []string{
		"http://192.0.2.1:8080", "http://stayd.example.com", "https://127.0.0.1:8080", "http://127.0.0.1@stayd.example.com",
		"http://127.0.0.1.example.com", "http://[2001:db8::1]:8080", "http://127.0.0.1:8080/x", "http://user@127.0.0.1:8080", "",
	} {
		name(server)
		for _, command := range [][]string{{"whoami"}, {"login"}} {
			refuses(t, exitFailed, "which is not on this machine, so it is not shown your key; if you trust it, name it with --server", command...)
		}
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string, 1)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == whoamiPath {
			shown <- r.Header.Get("Authorization")
			io.WriteString(w, `{"project":"default","scope":"owner"}`)
		}
	})}}
	server.Start()
	defer server.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"127.0.0.1", "localhost", "0.0.0.0"}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if of, err := netip.ParsePrefix(a.String()); err == nil && of.Addr().Is4() {
			hosts = append(hosts, of.Addr().String())
		}
	}
	for _, host := range hosts {
		name("http://" + net.JoinHostPort(host, port))
		says(t, "whoami")
		if got := <-shown; got != "Bearer stayd_canary" {
			t.Errorf("%s was shown %q", host, got)
		}
	}
}
