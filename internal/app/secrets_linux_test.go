package app_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/gvisor"
	"github.com/stayd/stayd/internal/environment/reexec"
)

// The secrets of the test. What looks for them in a sandbox has a pattern that is
// none itself.
const (
	secretCanary  = "CNRY-0123456789abcdef"
	rotatedCanary = "CNRY-fedcba9876543210"
)

// echo is a server that programs may send the secret to, by TLS, and what it got.
type echo struct {
	host string // with the port

	mu  sync.Mutex
	got []string
}

// startEcho starts one at the address. The machine's roots, of the environment
// variable, are its own.
func startEcho(t *testing.T, addr string) *echo {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "echo"}, IPAddresses: []net.IP{net.ParseIP(addr)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{host: l.Addr().String()}
	s := httptest.NewUnstartedServer(e)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that were not needed
	s.Listener.Close()
	s.Listener, s.TLS = l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots)
	return e
}

// ServeHTTP says what it was sent, or that it is the second secret.
func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, password, _ := r.BasicAuth()
	said := strings.TrimSpace(r.URL.String() + " " + r.Header.Get("X-Key") + password + " " + string(body))
	e.mu.Lock()
	e.got = append(e.got, said)
	e.mu.Unlock()
	if r.Header.Get("X-Key") == rotatedCanary {
		said = "the second"
	}
	io.WriteString(w, said)
}

func (e *echo) last() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.got) == 0 {
		return ""
	}
	return e.got[len(e.got)-1]
}

// probe sends the secret from Python, and then looks for it in all that a program
// can see: files, variables, processes, and its own memory.
const probe = `
import base64, os, re, ssl, sys, urllib.request
host, token = sys.argv[1], os.environ["TOKEN"]
auth = base64.b64encode(("me:" + token).encode()).decode()
req = urllib.request.Request("https://%s/python?key=%s" % (host, token), data=('{"key": "%s"}' % token).encode(),
    headers={"Authorization": "Basic " + auth, "Content-Type": "application/json"})
print(urllib.request.urlopen(req, timeout=60, context=ssl.create_default_context()).read().decode().replace(token, "PLACEHOLDER"))
looks = re.compile(rb"CN[R]Y-[0-9a-f]{16}")
found, files, bytes_ = [], 0, 0
for top in ("/workspace", "/tmp", "/etc", "/run", "/var", "/dev/shm", "/proc"):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if top == "/proc" and name not in ("environ", "cmdline", "status", "comm") or not os.path.isfile(path):
                continue
            try:
                data = open(path, "rb").read()
            except OSError:
                continue
            files += 1
            if looks.search(data): found.append(path)
memory = open("/proc/self/mem", "rb", 0)
for line in open("/proc/self/maps"):
    start, end = (int(x, 16) for x in line.split()[0].split("-"))
    if " rw" not in line: continue
    try:
        memory.seek(start)
        data = memory.read(end - start)
    except (OSError, ValueError, OverflowError):
        continue
    bytes_ += len(data)
    if looks.search(data): found.append("memory " + line.split()[0])
print("found", found, files > 20, bytes_ > 1 << 20)
`

// TestSecretsOfEnvironments has programs in both sandboxes send a secret of a vault
// to a server, which gets it, and looks for it in everything that it may not be
// in.
func TestSecretsOfEnvironments(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, check := range map[string]error{
		"bubblewrap": bubblewrap.New(bubblewrap.Config{}).Check(t.Context()),
		"gvisor":     gvisor.New(gvisor.Config{}).Check(t.Context()),
	} {
		t.Run(name, func(t *testing.T) {
			if check != nil && os.Getenv("CI") == "" {
				t.Skip(check)
			}
			e := startEcho(t, "127.0.0.2")
			cfg := config(t)
			cfg.AllowOutbound, cfg.Network, cfg.SandboxHelper = []string{e.host}, app.NetworkRestricted, []string{self, reexec.Argument}
			var logged bytes.Buffer
			url, stop := runLogged(t, cfg, &logged)
			stop = sync.OnceFunc(stop)
			defer stop()
			s := &secretive{node: &node{t: t, url: url, http: http.DefaultClient}, echo: e}
			s.open(name)
			s.use()
			s.change()
			s.scan(cfg.Data)
			stop()
			s.scanFiles(cfg.Data)
			if strings.Contains(logged.String(), "CNRY") {
				t.Error("the log has the secret")
			}
		})
	}
}

// secretive is a session whose programs have a placeholder of the secret.
type secretive struct {
	*node
	echo                       *echo
	vault, credential, session string
}

func (s *secretive) open(sandbox string) {
	s.t.Helper()
	var made struct{ ID string }
	s.must(&made, "POST", "/v1/vaults", `{"name":"team"}`)
	s.vault = made.ID
	s.must(&made, "POST", "/v1/vaults/"+s.vault+"/credentials",
		`{"name":"c","auth":{"type":"environment_variable","secret_name":"TOKEN","secret_value":"`+secretCanary+`","networking":{"type":"limited","allowed_hosts":["127.0.0.2"]}}}`)
	s.credential = made.ID
	raw, err := json.Marshal(map[string]any{
		"environment": map[string]any{
			"type": "openai_hosted", "sandbox": sandbox,
			"network": map[string]any{"access": "restricted", "allowed_domains": []string{s.echo.host, "127.0.0.3"}},
			"files":   []any{map[string]any{"type": "inline", "path": "/workspace/probe.py", "data": base64.StdEncoding.EncodeToString([]byte(probe))}},
		},
		"agent": map[string]any{"model": "script/shell"}, "vault_ids": []string{s.vault}, "input": "env",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.must(&made, "POST", sessions, string(raw))
	s.session = made.ID
	s.until(s.session, "idle")
	for _, want := range []string{"\nTOKEN=stayd_secret_", "\nSSL_CERT_FILE=/etc/stayd-certificates.pem\n", "\nNODE_EXTRA_CA_CERTS=/etc/stayd-certificates.pem\n"} {
		if said := "\n" + s.said(); !strings.Contains(said, want) {
			s.t.Fatalf("the variables have no %q: %s", want, said)
		}
	}
}

func (s *secretive) said() string {
	s.t.Helper()
	items := s.items(s.session)
	return items[len(items)-1].text()
}

// run returns what a command prints.
func (s *secretive) run(command string) string {
	s.t.Helper()
	raw, err := json.Marshal(command)
	if err != nil {
		s.t.Fatal(err)
	}
	s.must(nil, "POST", sessions+"/"+s.session+"/events", message(string(raw[1:len(raw)-1])))
	s.until(s.session, "idle")
	return s.said()
}

// use sends the secret by what there is.
func (s *secretive) use() {
	s.t.Helper()
	if _, err := exec.LookPath("curl"); err == nil {
		got := s.run(`curl -sS -H "X-Key: $TOKEN" -d "a=$TOKEN" https://` + s.echo.host + `/curl/$TOKEN | sed "s/$TOKEN/PLACEHOLDER/g"`)
		if want := "/curl/PLACEHOLDER PLACEHOLDER a=PLACEHOLDER"; got != want {
			s.t.Errorf("curl printed %q, want %q", got, want)
		}
		if got, want := s.echo.last(), "/curl/C C a=C"; strings.ReplaceAll(got, secretCanary, "C") != want {
			s.t.Errorf("the server got %q of curl, want %q", got, want)
		}
	}
	got := s.run("python3 probe.py " + s.echo.host)
	if want := "/python?key=PLACEHOLDER PLACEHOLDER {\"key\": \"PLACEHOLDER\"}\nfound [] True" + " True\n"; got != want {
		s.t.Errorf("Python printed %q, want %q", got, want)
	}
	if got, want := s.echo.last(), `/python?key=C C {"key": "C"}`; strings.ReplaceAll(got, secretCanary, "C") != want {
		s.t.Errorf("the server got %q of Python, want %q", got, want)
	}
	got = s.run("echo more >> /etc/stayd-certificates.pem || echo read only")
	if !strings.HasSuffix(got, "read only\n") {
		s.t.Errorf("the file of certificates: %q", got)
	}
	got = s.run(`python3 -c "import os, urllib.request; urllib.request.urlopen('http://127.0.0.3/' + os.environ['TOKEN'])" 2>&1 | tail -1`)
	if !strings.Contains(got, "403") {
		s.t.Errorf("another host: %q", got)
	}
}

// change replaces the secret and then deletes it, each of which a program sees
// after a moment.
func (s *secretive) change() {
	s.t.Helper()
	at := "/v1/vaults/" + s.vault + "/credentials/" + s.credential
	const ask = `
import os, sys, time, urllib.request, urllib.error
said, until = "", time.time() + 60
while time.time() < until:
    try: said = urllib.request.urlopen(urllib.request.Request("https://%s/", headers={"X-Key": os.environ["TOKEN"]})).read().decode()
    except urllib.error.HTTPError as e: said = e.read().decode()
    if sys.argv[1] in said: break
    time.sleep(0.1)
print("seen" if sys.argv[1] in said else said)
`
	command := func(what string) string {
		return "cat > ask.py <<'END'" + fmt.Sprintf(ask, s.echo.host) + "END\npython3 ask.py '" + what + "'"
	}
	s.must(nil, "POST", at, `{"auth":{"type":"environment_variable","secret_value":"`+rotatedCanary+`"}}`)
	if got := s.run(command("the second")); got != "seen\n" {
		s.t.Errorf("after the secret was replaced: %q", got)
	}
	s.must(nil, "DELETE", at, "")
	if got := s.run(command("secret_gone")); got != "seen\n" {
		s.t.Errorf("after the credential was deleted: %q", got)
	}
}

// scan looks for the secret in what is told of the session, and on the disk.
func (s *secretive) scan(data string) {
	s.t.Helper()
	requests, refused := 0, 0
	for _, r := range s.log(s.session) {
		if strings.Contains(string(r.Data), "CNRY") {
			s.t.Errorf("record %d, %s, has the secret: %s", r.Seq, r.Kind, r.Data)
		}
		if r.Kind == "environment.egress" {
			requests += strings.Count(string(r.Data), `"path":"/python"`)
			refused += strings.Count(string(r.Data), "secret_not_for_host: ")
		}
	}
	if requests != 1 || refused != 1 {
		s.t.Errorf("%d requests of Python are recorded, and %d that were refused", requests, refused)
	}
	for _, path := range []string{"/items", ""} {
		if a := s.do("GET", sessions+"/"+s.session+path, ""); a.status != 200 || strings.Contains(a.body, "CNRY") {
			s.t.Errorf("%s: %s", path, a)
		}
	}
	s.verify(s.session)
	s.scanFiles(data)
}

func (s *secretive) scanFiles(data string) {
	s.t.Helper()
	files := 0
	err := filepath.WalkDir(data, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(name)
		if bytes.Contains(b, []byte(secretCanary)) || bytes.Contains(b, []byte(rotatedCanary)) {
			s.t.Errorf("%s has the secret", name)
		}
		return err
	})
	if err != nil || files < 4 {
		s.t.Errorf("%d files were looked at: %v", files, err)
	}
}
