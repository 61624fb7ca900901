package vaults_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/vault"
)

// must sends a request that is answered with the status, and decodes the answer.
func (w *world) must(out any, status int, method, path, body string) {
	w.t.Helper()
	a := w.do(method, path, body)
	if a.status != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal([]byte(a.body), out); err != nil {
		w.t.Fatal(err)
	}
}

type credential struct {
	ID, Actor string
	Auth      json.RawMessage
}

const bearerBody = `"name":"c","auth":{"type":"static_bearer","mcp_server_url":"https://mcp.example.com/mcp","token":"canary-token"}`

// TestActor shows whose credentials a caller makes, lists and changes, where they
// may act for all and where for one person.
func TestActor(t *testing.T) {
	w := newWorld(t)
	var v struct{ ID string }
	w.must(&v, 200, "POST", path, `{}`)
	at := path + "/" + v.ID + "/credentials"
	var ours, hers, his credential
	w.must(&ours, 200, "POST", at, `{`+bearerBody+`}`)
	w.must(&hers, 200, "POST", at, `{"actor":"ana",`+bearerBody+`}`)
	w.must(&his, 200, "POST", at, `{"actor":"bob",`+bearerBody+`}`)
	if ours.Actor != "" || hers.Actor != "ana" || his.Actor != "bob" {
		t.Errorf("made are %+v %+v %+v", ours, hers, his)
	}
	list := func(w *world, query string) string {
		t.Helper()
		var page struct{ Data []credential }
		w.must(&page, 200, "GET", at+query, "")
		var ids []string
		for _, c := range page.Data {
			ids = append(ids, c.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := list(w, "?order=asc"); got != ours.ID+" "+hers.ID+" "+his.ID {
		t.Errorf("all are %s", got)
	}
	if got := list(w, "?actor=bob"); got != his.ID {
		t.Errorf("bob's are %s", got)
	}

	ana := *w
	ana.key = keyAna
	if got := list(&ana, ""); got != hers.ID {
		t.Errorf("ana sees %s", got)
	}
	ana.must(nil, 403, "GET", at+"?actor=bob", "")
	ana.must(nil, 403, "POST", at, `{"actor":"bob",`+bearerBody+`}`)
	for _, id := range []string{ours.ID, his.ID} {
		ana.must(nil, 404, "GET", at+"/"+id, "")
		ana.must(nil, 404, "POST", at+"/"+id, `{"metadata":{"a":"b"}}`)
		ana.must(nil, 404, "DELETE", at+"/"+id, "")
	}
	ana.must(nil, 403, "POST", path+"/"+v.ID, `{"name":"mine"}`)
	ana.must(nil, 403, "DELETE", path+"/"+v.ID, "")
	var own credential
	ana.must(&own, 200, "POST", at, `{`+bearerBody+`}`)
	if own.Actor != "ana" {
		t.Errorf("what she makes is %+v", own)
	}
	ana.must(nil, 200, "GET", at+"/"+own.ID, "")
	ana.must(nil, 200, "DELETE", at+"/"+own.ID, "")
	w.must(nil, 400, "POST", at, `{"actor":"`+strings.Repeat("a", 257)+`",`+bearerBody+`}`)
	w.must(nil, 200, "DELETE", path+"/"+v.ID, "")
}

// TestOAuthClient shows what is taken, shown and changed of an OAuth client.
func TestOAuthClient(t *testing.T) {
	w := newWorld(t)
	var v struct{ ID string }
	w.must(&v, 200, "POST", path, `{}`)
	at := path + "/" + v.ID + "/credentials"
	const start = `{"name":"c","auth":{"type":"oauth_client","mcp_server_url":"https://mcp.example.com/mcp","client_id":"stayd","token_endpoint":"https://login.example.com/token",`
	var made credential
	w.must(&made, 200, "POST", at, start+`"grant":"client_credentials","scope":"read","token_endpoint_auth":{"type":"client_secret_post","client_secret":"canary-client"}}}`)
	want := `{"type":"oauth_client","mcp_server_url":"https://mcp.example.com/mcp","client_id":"stayd","grant":"client_credentials","token_endpoint":"https://login.example.com/token",` +
		`"authorization_endpoint":null,"token_endpoint_auth":{"type":"client_secret_post"},"resource":null,"scope":"read"}`
	if string(made.Auth) != want {
		t.Errorf("shown is %s, want %s", made.Auth, want)
	}
	w.must(&made, 200, "POST", at+"/"+made.ID, `{"auth":{"type":"oauth_client","client_secret":"canary-next","scope":null}}`)
	o, err := w.vaults.OpenServer(t.Context(), "a", []string{v.ID}, "", "https://mcp.example.com/mcp", "")
	if err != nil || o.Secrets.ClientSecret.Reveal() != "canary-next" || !strings.Contains(string(made.Auth), `"scope":null`) {
		t.Errorf("changed it is %s: %v", made.Auth, err)
	}
	w.must(nil, 200, "POST", at, start+`"grant":"authorization_code","authorization_endpoint":"https://login.example.com/authorize","token_endpoint_auth":{"type":"none"}}}`)
	for what, body := range map[string]string{
		"no grant":          start + `"token_endpoint_auth":{"type":"client_secret_basic","client_secret":"canary-x"}}}`,
		"another grant":     start + `"grant":"password","token_endpoint_auth":{"type":"client_secret_basic","client_secret":"canary-x"}}}`,
		"no secret":         start + `"grant":"client_credentials","token_endpoint_auth":{"type":"none"}}}`,
		"a token":           start + `"grant":"authorization_code","token":"canary-x","token_endpoint_auth":{"type":"none"}}}`,
		"nobody to consent": start + `"grant":"client_credentials","authorization_endpoint":"https://login.example.com/a","token_endpoint_auth":{"type":"client_secret_basic","client_secret":"canary-x"}}}`,
	} {
		if a := w.do("POST", at, body); a.status != 400 {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	if strings.Contains(w.seen.b.String(), "canary") {
		t.Errorf("seen: %s", w.seen.b.String())
	}
}

// TestKeyClient shows who may have the runtime sign for a client, and for whom it
// does.
func TestKeyClient(t *testing.T) {
	w := newWorld(t)
	var v struct{ ID string }
	w.must(&v, 200, "POST", path, `{}`)
	at := path + "/" + v.ID + "/credentials"
	body := func(client, way string) string {
		return `{"name":"c","auth":{"type":"oauth_client","mcp_server_url":"https://mcp.example.com/mcp","client_id":"` + client + `","grant":"client_credentials",` +
			`"token_endpoint":"https://login.example.com/token","token_endpoint_auth":` + way + `}}`
	}
	const plain = `{"type":"private_key_jwt"}`
	var made credential
	w.must(&made, 200, "POST", at, body("stayd", `{"type":"private_key_jwt","audience":"https://LOGIN.example.com:443"}`))
	if !strings.Contains(string(made.Auth), `"token_endpoint_auth":{"type":"private_key_jwt","audience":"https://LOGIN.example.com:443"}`) {
		t.Errorf("shown is %s", made.Auth)
	}
	w.must(nil, 400, "POST", at+"/"+made.ID, `{"auth":{"type":"oauth_client","client_secret":"canary"}}`)
	for what, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"another server":   {body("stayd", `{"type":"private_key_jwt","audience":"https://other.example.com"}`), 400, "auth.token_endpoint_auth.audience"},
		"a part of a name": {body("stayd", `{"type":"private_key_jwt","audience":"https://login.example.com.evil.example"}`), 400, "auth.token_endpoint_auth.audience"},
		"no URL":           {body("stayd", `{"type":"private_key_jwt","audience":"stayd"}`), 400, "auth.token_endpoint_auth.audience"},
		"a secret":         {body("stayd", `{"type":"private_key_jwt","client_secret":"canary"}`), 400, "client_secret"},
		"the runtime":      {body("https://stayd.example.com", plain), 400, "nothing is signed for it"},
	} {
		if a := w.do("POST", at, c.body); a.status != c.status || !strings.Contains(a.body, c.text) {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}

	// Who is not the operator has the project's own client.
	w.key = admin
	w.must(nil, 200, "POST", at, body(keyClient, plain))
	refused := w.do("POST", at, body("stayd", plain))
	if refused.status != 403 || !strings.Contains(refused.body, `"code":"insufficient_scope"`) || !strings.Contains(refused.body, "owner") {
		t.Errorf("another client: %d %s", refused.status, refused.body)
	}
}

// TestRevoked shows what is taken back when credentials and vaults are deleted.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	var taken []string
	w.revoke = func(_ context.Context, all []vault.Opened) {
		for _, o := range all {
			taken = append(taken, o.ID+" "+o.Secrets.RefreshToken.Reveal())
		}
	}
	var v struct{ ID string }
	w.must(&v, 200, "POST", path, `{}`)
	at := path + "/" + v.ID + "/credentials"
	consented := func(server string) string {
		t.Helper()
		c, err := w.vaults.PutConsented(t.Context(), "a", v.ID, vault.NewCredential{
			Name: "c", Auth: vault.Auth{
				Type: vault.TypeOAuth, ServerURL: server, Consent: &vault.Consent{ClientID: "c", TokenEndpointAuth: vault.ClientNone, RevocationEndpoint: "https://login.example.com/revoke"},
				Refresh: &vault.Refresh{ClientID: "c", TokenEndpoint: "https://login.example.com/token", TokenEndpointAuth: vault.ClientNone},
			},
			Secrets: vault.Secrets{Token: vault.NewSecret("access"), RefreshToken: vault.NewSecret("refresh of " + server)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	var plain credential
	w.must(&plain, 200, "POST", at, `{`+bearerBody+`}`)
	first, second := consented("https://a.example.com"), consented("https://b.example.com")
	w.must(nil, 200, "DELETE", at+"/"+plain.ID, "")
	w.must(nil, 200, "DELETE", at+"/"+first, "")
	w.must(nil, 200, "DELETE", path+"/"+v.ID, "")
	want := first + " refresh of https://a.example.com, " + second + " refresh of https://b.example.com"
	if got := strings.Join(taken, ", "); got != want {
		t.Errorf("taken back are %s, want %s", got, want)
	}
}
