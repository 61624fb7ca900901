package vaults_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

// canaries are secrets that are looked for afterwards.
type canaries struct{ planted []string }

// one is a secret that looks like nothing else, also when it is cut or escaped.
func (c *canaries) one() string {
	s := fmt.Sprintf("canary-%02d-<&>-kq7zxw", len(c.planted))
	c.planted = append(c.planted, s)
	return s
}

// find returns what of the secrets is in b, in any of the forms that they may
// have been written in.
func (c *canaries) find(b []byte) []string {
	var found []string
	for _, s := range c.planted {
		escaped := strings.NewReplacer("<", `\u003c`, "&", `\u0026`, ">", `\u003e`).Replace(s)
		forms := []string{s, s[:len(s)/2], s[len(s)/2:], escaped, hex.EncodeToString([]byte(s)), url.QueryEscape(s)}
		for cut := range 3 {
			inner := base64.StdEncoding.EncodeToString([]byte(s[cut:]))
			forms = append(forms, inner[:len(inner)/4*4-8])
		}
		for _, form := range forms {
			if bytes.Contains(b, []byte(form)) {
				found = append(found, s+" as "+form)
			}
		}
	}
	return found
}

// TestCanaries plants more than fifty secrets, in requests that are taken and in
// such that are refused, and looks for them in all that is stored, logged and
// answered.
func TestCanaries(t *testing.T) {
	w := newWorld(t)
	var c canaries
	var made struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &made)
	at := path + "/" + made.ID + "/credentials"
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	oauth := func() string {
		return `{"type":"mcp_oauth","mcp_server_url":"https://mcp.example.com","access_token":` + quote(c.one()) + `,"refresh":{"client_id":"c","refresh_token":` + quote(c.one()) +
			`,"token_endpoint":"https://login.example.com","token_endpoint_auth":{"type":"client_secret_basic","client_secret":` + quote(c.one()) + `}}}`
	}
	create := func(auth string) string { return `{"name":"n","auth":` + auth + `}` }
	var ids []string
	for i := range 6 {
		for _, auth := range []string{
			`{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":` + quote(c.one()) + `}`,
			`{"type":"environment_variable","secret_name":"KEY","networking":{"type":"unrestricted"},"secret_value":` + quote(c.one()) + `}`, oauth(),
		} {
			var credential struct{ ID string }
			decode(t, w.do("POST", at, create(auth), "Idempotency-Key", fmt.Sprint(i, len(auth))), &credential)
			ids = append(ids, credential.ID)
		}
	}
	rotations := []string{
		`{"type":"static_bearer","token":%s}`, `{"type":"environment_variable","secret_value":%s}`,
		`{"type":"mcp_oauth","access_token":%s,"refresh":{"refresh_token":%s,"token_endpoint_auth":{"type":"client_secret_basic","client_secret":%s}}}`,
	}
	for i, id := range ids {
		auth := rotations[i%3]
		for strings.Contains(auth, "%s") {
			auth = strings.Replace(auth, "%s", quote(c.one()), 1)
		}
		decode(t, w.do("POST", at+"/"+id, `{"auth":`+auth+`}`, "Idempotency-Key", strconv.Itoa(i)), nil)
		decode(t, w.do("GET", at+"/"+id, ""), nil)
	}
	decode(t, w.do("GET", at+"?limit=100", ""), nil)
	stored := len(c.planted)
	for what, body := range map[string]string{
		"a newline":      create(`{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":` + quote(c.one()+"\n") + `}`),
		"no server":      create(`{"type":"static_bearer","token":` + quote(c.one()) + `}`),
		"a bad server":   create(`{"type":"static_bearer","mcp_server_url":"ftp://x","token":` + quote(c.one()) + `}`),
		"in a URL":       create(`{"type":"static_bearer","mcp_server_url":` + quote("https://user:"+c.one()+"@mcp.example.com") + `,"token":"x"}`),
		"of two types":   create(`{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":"x","secret_value":` + quote(c.one()) + `}`),
		"in an array":    create(`{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":[` + quote(c.one()) + `]}`),
		"cut":            `{"name":"n","auth":{"type":"static_bearer","token":` + quote(c.one()),
		"twice":          create(`{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":"x","token":` + quote(c.one()) + `}`),
		"a bad expiry":   create(strings.Replace(oauth(), `"access_token"`, `"expires_at":"soon","access_token"`, 1)),
		"a bad endpoint": create(strings.Replace(oauth(), "https://login", "http://login", 1)),
	} {
		if a := w.do("POST", at, body); a.status != 400 {
			t.Errorf("%s: %d %s, want 400", what, a.status, a.body)
		}
	}
	// What has no key to be opened with, or is not what was stored, is not shown either.
	w.tamper(made.ID, ids[0])
	if a := w.do("POST", at+"/"+ids[0], `{"auth":{"type":"static_bearer","token":`+quote(c.one())+`}}`); a.status != 500 || !strings.Contains(a.body, `"code":"log_corrupt"`) {
		t.Errorf("a credential that was changed in the store: %d %s", a.status, a.body)
	}
	if err := os.WriteFile(w.keys, []byte("no keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := w.do("POST", at, create(`{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":`+quote(c.one())+`}`)); a.status != 500 {
		t.Errorf("without its keys: %d %s", a.status, a.body)
	}
	if stored < 50 {
		t.Fatalf("only %d secrets were stored", stored)
	}
	for _, found := range c.find(w.seen.b.Bytes()) {
		t.Errorf("answered or logged: %s", found)
	}
	if w.seen.b.Len() < 10_000 {
		t.Errorf("only %d bytes were answered and logged", w.seen.b.Len())
	}
	scanned := c.scan(t, w.data)
	t.Logf("%d secrets, %d of them stored, in none of %d bytes stored and %d answered and logged", len(c.planted), stored, scanned, w.seen.b.Len())
}

// scan looks into every file of the folder, and returns how many bytes they have.
func (c *canaries) scan(t *testing.T, folder string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		for _, found := range c.find(b) {
			t.Errorf("%s has %s", name, found)
		}
		n += len(b)
		return err
	})
	if err != nil || n < 50_000 {
		t.Fatalf("only %d bytes were looked at: %v", n, err)
	}
	return n
}

// tamper changes where a credential is for, as somebody who has the store does.
func (w *world) tamper(vaultID, id string) {
	w.t.Helper()
	o, err := w.store.Object(w.t.Context(), "a", "credential/"+vaultID, id)
	if err != nil {
		w.t.Fatal(err)
	}
	o.Data = bytes.Replace(o.Data, []byte("mcp.example.com"), []byte("evil.example.com"), 1)
	o.Version++
	if err := w.store.UpdateObject(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// TestFinder shows that the search of TestCanaries finds what is there.
func TestFinder(t *testing.T) {
	var c canaries
	s := c.one()
	encoded, err := json.Marshal(map[string]any{"text": s, "bytes": []byte("x" + s)})
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{"plain": []byte("a" + s + "b"), "JSON": encoded, "base64": []byte(base64.StdEncoding.EncodeToString([]byte("ab" + s)))} {
		if len(c.find(b)) == 0 {
			t.Errorf("%s is not found", what)
		}
	}
	if found := c.find([]byte("nothing of the kind")); len(found) != 0 {
		t.Errorf("found %q", found)
	}
}

func decode(t *testing.T, a answer, out any) {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal([]byte(a.body), out); err != nil {
		t.Fatal(err)
	}
}

// TestKeys shows what is answered by a server that has not the right master key.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	var made struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &made)
	credential := `{"name":"n","auth":{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":"t"}}`
	decode(t, w.do("POST", path+"/"+made.ID+"/credentials", credential), nil)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}

	other := *w
	keys, err := keyfile.Open(filepath.Join(t.TempDir(), "other.keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	other.serve(keys)
	a := other.do("POST", path+"/"+made.ID+"/credentials", credential)
	if a.status != 503 || !strings.Contains(a.body, `"code":"vault_key_wrong"`) || strings.Contains(a.body, "other.keys") {
		t.Errorf("with another key: %d %s", a.status, a.body)
	}
	if log := other.seen.b.String(); !strings.Contains(log, "other.keys: give the server the keys that it had before") {
		t.Errorf("the log does not say what is missing: %s", log)
	}

	none := newWorld(t)
	if err := none.store.Close(); err != nil {
		t.Fatal(err)
	}
	none.serve(vault.Unset("set STAYD_VAULT_KEY"))
	decode(t, none.do("POST", path, `{}`), &made)
	a = none.do("POST", path+"/"+made.ID+"/credentials", credential)
	if a.status != 503 || !strings.Contains(a.body, `"message":"Vaults need a master key: set STAYD_VAULT_KEY."`) || !strings.Contains(a.body, `"code":"vault_key_missing"`) {
		t.Errorf("without a key: %d %s", a.status, a.body)
	}
}

// TestRewrap rotates the master key over HTTP, which is the operator's alone.
func TestRewrap(t *testing.T) {
	w := newWorld(t)
	var made struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &made)
	decode(t, w.do("POST", path+"/"+made.ID+"/credentials", `{"name":"n","auth":{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":"t"}}`), nil)
	rot, err := keyfile.Rotate(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	project := *w
	project.key = admin
	if a := project.do("POST", path+"/rewrap", `{}`); a.status != 403 {
		t.Errorf("a key of a project: %d %s, want 403", a.status, a.body)
	}
	for _, moved := range []string{"1", "0"} {
		want := `{"object":"vault.rewrap","master_key":"` + rot.Current + `","keys":1,"moved":` + moved + `,"left":{}}`
		if a := w.do("POST", path+"/rewrap", `{}`); a.status != 200 || a.body != want {
			t.Errorf("rewrapped: %d %s, want %s", a.status, a.body, want)
		}
	}
}
