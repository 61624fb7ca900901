package vaults_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	mcp    = "https://mcp.example.com/mcp"
	bearer = `{"type":"static_bearer","mcp_server_url":"https://mcp.example.com/mcp","token":"t"}`
)

func named(auth string) string { return `{"name":"n","auth":` + auth + `}` }

func refresh(fields string) string {
	return named(`{"type":"mcp_oauth","mcp_server_url":"` + mcp + `","access_token":"t","refresh":{"client_id":"c","refresh_token":"r","token_endpoint":"https://login.example.com"` + fields + `}}`)
}

func variable(name, networking string) string {
	return named(`{"type":"environment_variable","secret_name":"` + name + `","secret_value":"v","networking":` + networking + `}`)
}

func hosts(list string) string {
	return variable("KEY", `{"type":"limited","allowed_hosts":[`+list+`]}`)
}

// TestRefused shows what is not taken, and that the answer says which field it is.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	var v struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &v)
	vaultAt, credentialsAt := path+"/"+v.ID, path+"/"+v.ID+"/credentials"
	var seventeen []string
	for i := range 17 {
		seventeen = append(seventeen, fmt.Sprintf(`"h%d.example.com"`, i))
	}
	pairs := `{"metadata":{"` + strings.Repeat("k", 65) + `":"v"}}`
	for _, c := range []struct{ at, body, param, code string }{
		{path, `{"name":""}`, "name", "invalid_value"},
		{path, `{"name":" \t "}`, "name", "invalid_value"},
		{path, `{"name":"` + strings.Repeat("é", 129) + `"}`, "name", "invalid_value"},
		{path, `{"name":1}`, "name", "invalid_type"},
		{path, pairs, "metadata", "invalid_value"},
		{path, `{"metadata":{"k":"` + strings.Repeat("v", 513) + `"}}`, "metadata.k", "invalid_value"},
		{path, `{"metadata":{"k":1}}`, "metadata.k", "invalid_type"},
		{path, `{"credentials":[]}`, "credentials", "unknown_parameter"},
		{vaultAt, `{"name":""}`, "name", "invalid_value"},
		{vaultAt, `{"status":"archived"}`, "status", "unknown_parameter"},

		{credentialsAt, `{"auth":` + bearer + `}`, "name", "missing_required_parameter"},
		{credentialsAt, `{"name":" ","auth":` + bearer + `}`, "name", "invalid_value"},
		{credentialsAt, `{"name":"n"}`, "auth", "missing_required_parameter"},
		{credentialsAt, named(`{"type":"password"}`), "auth.type", "invalid_value"},
		{credentialsAt, named(`{"token":"t"}`), "auth.type", "missing_required_parameter"},
		{credentialsAt, named(`{"type":"static_bearer","token":"t"}`), "auth.mcp_server_url", "missing_required_parameter"},
		{credentialsAt, named(`{"type":"static_bearer","mcp_server_url":"` + mcp + `"}`), "auth.token", "missing_required_parameter"},
		{credentialsAt, strings.Replace(named(bearer), `"t"`, `""`, 1), "auth.token", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), `"t"`, `"a\r\nX: y"`, 1), "auth.token", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), `"t"`, `"a\u0000"`, 1), "auth.token", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), `"t"`, `"`+strings.Repeat("t", 1<<16+1)+`"`, 1), "auth.token", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), mcp, "http://mcp.example.com", 1), "auth.mcp_server_url", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), mcp, "https://u:p@mcp.example.com", 1), "auth.mcp_server_url", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), mcp, "https://mcp.example.com/#x", 1), "auth.mcp_server_url", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), mcp, "https:///mcp", 1), "auth.mcp_server_url", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), mcp, "mcp.example.com", 1), "auth.mcp_server_url", "invalid_value"},
		{credentialsAt, strings.Replace(named(bearer), mcp, "https://"+strings.Repeat("a", 2048), 1), "auth.mcp_server_url", "invalid_value"},

		{credentialsAt, refresh(``), "auth.refresh.token_endpoint_auth", "missing_required_parameter"},
		{credentialsAt, refresh(`,"token_endpoint_auth":{"type":"private_key_jwt"}`), "auth.refresh.token_endpoint_auth.type", "invalid_value"},
		{credentialsAt, refresh(`,"token_endpoint_auth":{"type":"client_secret_basic"}`), "auth.refresh.token_endpoint_auth.client_secret", "missing_required_parameter"},
		{credentialsAt, refresh(`,"token_endpoint_auth":{"type":"client_secret_post","client_secret":""}`), "auth.refresh.token_endpoint_auth.client_secret", "invalid_value"},
		{credentialsAt, refresh(`,"scope":"","token_endpoint_auth":{"type":"none"}`), "auth.refresh.scope", "invalid_value"},
		{credentialsAt, strings.Replace(refresh(`,"token_endpoint_auth":{"type":"none"}`), `"r"`, `""`, 1), "auth.refresh.refresh_token", "invalid_value"},
		{credentialsAt, strings.Replace(refresh(`,"token_endpoint_auth":{"type":"none"}`), `"c"`, `""`, 1), "auth.refresh.client_id", "invalid_value"},
		{credentialsAt, strings.Replace(refresh(`,"token_endpoint_auth":{"type":"none"}`), "https://login", "http://login", 1), "auth.refresh.token_endpoint", "invalid_value"},
		{credentialsAt, named(`{"type":"mcp_oauth","mcp_server_url":"` + mcp + `","access_token":"t","expires_at":"2026-06-01"}`), "auth.expires_at", "invalid_value"},

		{credentialsAt, named(`{"type":"environment_variable","secret_name":"KEY","secret_value":"v"}`), "auth.networking", "missing_required_parameter"},
		{credentialsAt, variable("1KEY", `{"type":"unrestricted"}`), "auth.secret_name", "invalid_value"},
		{credentialsAt, variable("MY-KEY", `{"type":"unrestricted"}`), "auth.secret_name", "invalid_value"},
		{credentialsAt, variable("", `{"type":"unrestricted"}`), "auth.secret_name", "invalid_value"},
		{credentialsAt, variable("codex_home", `{"type":"unrestricted"}`), "auth.secret_name", "invalid_value"},
		{credentialsAt, variable("https_proxy", `{"type":"unrestricted"}`), "auth.secret_name", "invalid_value"},
		{credentialsAt, variable("SSL_CERT_FILE", `{"type":"unrestricted"}`), "auth.secret_name", "invalid_value"},
		{credentialsAt, variable("KEY", `{"type":"none"}`), "auth.networking.type", "invalid_value"},
		{credentialsAt, variable("KEY", `{"type":"limited"}`), "auth.networking.allowed_hosts", "missing_required_parameter"},
		{credentialsAt, hosts(``), "auth.networking.allowed_hosts", "invalid_value"},
		{credentialsAt, hosts(strings.Join(seventeen, ",")), "auth.networking.allowed_hosts", "invalid_value"},
		{credentialsAt, hosts(`"a.example.com","A.example.com"`), "auth.networking.allowed_hosts[1]", "invalid_value"},
		{credentialsAt, hosts(`"*.example.com"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
		{credentialsAt, hosts(`"https://a.example.com"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
		{credentialsAt, hosts(`"a.example.com:443"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
		{credentialsAt, hosts(`"::1"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
		{credentialsAt, hosts(`"127.1"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
		{credentialsAt, hosts(`"a..b"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
		{credentialsAt, hosts(`"bücher.example"`), "auth.networking.allowed_hosts[0]", "invalid_value"},
	} {
		a := w.do("POST", c.at, c.body)
		var got struct {
			Error struct{ Param, Code, Message string }
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusBadRequest || got.Error.Param != c.param || got.Error.Code != c.code {
			t.Errorf("%.120s: %d %s\nwant %s of %s", c.body, a.status, a.body, c.code, c.param)
		}
	}
	for _, query := range []string{"?status=gone", "?status[]=gone", "?status[x]=active", "?limit=0", "?order=up", "?after=vault_nowhere", "?metadata[" + strings.Repeat("k", 65) + "]=v", "?x=y"} {
		if a := w.do("GET", path+query, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s, want 400", query, a.status, a.body)
		}
	}
	if a := w.do("GET", path+"?limit=100", ""); strings.Count(a.body, `"object":"vault"`) != 1 {
		t.Errorf("something of what was refused is there: %s", a.body)
	}
	if a := w.do("GET", credentialsAt, ""); !strings.Contains(a.body, `"data":[]`) {
		t.Errorf("something of what was refused is there: %s", a.body)
	}
}

// TestTaken shows what is taken at the bounds.
func TestTaken(t *testing.T) {
	w := newWorld(t)
	var v struct{ ID string }
	decode(t, w.do("POST", path, `{"name":"`+strings.Repeat("é", 128)+`","metadata":{"`+strings.Repeat("k", 64)+`":"`+strings.Repeat("v", 512)+`"}}`), &v)
	for _, body := range []string{
		strings.Replace(named(bearer), mcp, "http://localhost:9000/mcp", 1),
		strings.Replace(named(bearer), `"t"`, `"`+strings.Repeat("t", 1<<16)+`"`, 1),
		refresh(`,"scope":null,"resource":"https://mcp.example.com","token_endpoint_auth":{"type":"none"}`),
		hosts(`"10.0.0.1","xn--bcher-kva.example","localhost"`),
		variable("_a1", `{"type":"unrestricted"}`),
	} {
		decode(t, w.do("POST", path+"/"+v.ID+"/credentials", body), nil)
	}
}

// TestRepeated shows that a request with a key is done once, for vaults and
// credentials.
func TestRepeated(t *testing.T) {
	w := newWorld(t)
	var v struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &v)
	credentialsAt := path + "/" + v.ID + "/credentials"
	for _, c := range []struct{ at, body, other string }{
		{path, `{"name":"a"}`, `{"name":"b"}`},
		{path + "/" + v.ID, `{"name":"a"}`, `{"name":"b"}`},
		{credentialsAt, named(bearer), strings.Replace(named(bearer), `"t"`, `"u"`, 1)},
	} {
		first := w.do("POST", c.at, c.body, "Idempotency-Key", "k")
		if again := w.do("POST", c.at, c.body, "Idempotency-Key", "k"); again != first || first.status != http.StatusOK {
			t.Errorf("%s: %v, then %v", c.at, first, again)
		}
		if a := w.do("POST", c.at, c.other, "Idempotency-Key", "k"); a.status != http.StatusConflict || !strings.Contains(a.body, "idempotency") {
			t.Errorf("%s with another body: %d %s, want 409", c.at, a.status, a.body)
		}
	}
}

// TestForeign shows that nothing of another project is found.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	var v, c struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &v)
	decode(t, w.do("POST", path+"/"+v.ID+"/credentials", named(bearer)), &c)
	other := w.another()
	for _, id := range []string{v.ID, "vault_nowhere"} {
		for _, op := range []struct{ method, path, body string }{
			{"GET", "", ""},
			{"POST", "", `{}`},
			{"DELETE", "", ""},
			{"GET", "/credentials", ""},
			{"POST", "/credentials", named(bearer)},
			{"GET", "/credentials/" + c.ID, ""},
			{"POST", "/credentials/" + c.ID, `{}`},
			{"DELETE", "/credentials/" + c.ID, ""},
		} {
			want := `"message":"No vault found with id '` + id + `'."`
			if a := other.do(op.method, path+"/"+id+op.path, op.body); a.status != http.StatusNotFound || !strings.Contains(a.body, want) {
				t.Errorf("%s %s: %d %s", op.method, op.path, a.status, a.body)
			}
		}
	}
	if a := other.do("GET", path, ""); strings.Contains(a.body, v.ID) {
		t.Errorf("another project lists %s", a.body)
	}
	decode(t, w.do("GET", path+"/"+v.ID+"/credentials/"+c.ID, ""), nil)
}

// schema is as much of a JSON schema as the document has for objects.
type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	OneOf      []schema          `json:"oneOf"`
	Items      *schema           `json:"items"`
	Required   []string          `json:"required"`
}

// TestDocument shows that what is answered is what the document says.
func TestDocument(t *testing.T) {
	w := newWorld(t)
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema schema }
			}
		}
		Components struct{ Schemas map[string]schema }
	}
	decode(t, w.do("GET", "/openapi.json", ""), &doc)
	var v, c struct{ ID string }
	decode(t, w.do("POST", path, `{}`), &v)
	var fits func(s schema, at string, got any) []string
	fits = func(s schema, at string, got any) []string {
		if name, isRef := strings.CutPrefix(s.Ref, "#/components/schemas/"); isRef {
			s = doc.Components.Schemas[name]
		}
		if len(s.OneOf) > 0 {
			var wrong []string
			for _, one := range s.OneOf {
				if wrong = fits(one, at, got); len(wrong) == 0 {
					return nil
				}
			}
			return wrong
		}
		var wrong []string
		switch got := got.(type) {
		case []any:
			for _, e := range got {
				if s.Items != nil {
					wrong = append(wrong, fits(*s.Items, at+"[]", e)...)
				}
			}
		case map[string]any:
			for _, name := range s.Required {
				if _, ok := got[name]; !ok {
					wrong = append(wrong, at+"."+name+" is not there")
				}
			}
			for _, name := range slices.Sorted(maps.Keys(got)) {
				property, known := s.Properties[name]
				if !known && s.Properties != nil {
					wrong = append(wrong, at+"."+name+" is not documented")
				}
				wrong = append(wrong, fits(property, at+"."+name, got[name])...)
			}
		}
		return wrong
	}
	checked := 0
	check := func(method, path, template, body string) answer {
		a := w.do(method, path, body)
		var got any
		decode(t, a, &got)
		s := doc.Paths[template][strings.ToLower(method)].Responses["200"].Content["application/json"].Schema
		for _, wrong := range fits(s, method+" "+template, got) {
			t.Error(wrong)
		}
		checked++
		return a
	}
	const one, list, credential = "/v1/vaults/{vault_id}", "/v1/vaults/{vault_id}/credentials", "/v1/vaults/{vault_id}/credentials/{credential_id}"
	at := path + "/" + v.ID + "/credentials"
	check("POST", path, path, `{"name":"n"}`)
	check("GET", path+"/"+v.ID, one, "")
	check("POST", path+"/"+v.ID, one, `{"metadata":{"a":"b"}}`)
	for _, body := range []string{named(bearer), refresh(`,"token_endpoint_auth":{"type":"none"}`), hosts(`"a.example.com"`)} {
		a := check("POST", at, list, body)
		if err := json.Unmarshal([]byte(a.body), &c); err != nil {
			t.Fatal(err)
		}
		check("GET", at+"/"+c.ID, credential, "")
		check("POST", at+"/"+c.ID, credential, `{"metadata":{"a":"b"}}`)
	}
	check("GET", at, list, "")
	check("GET", path, path, "")
	check("POST", path+"/rewrap", path+"/rewrap", `{}`)
	check("DELETE", at+"/"+c.ID, credential, "")
	check("DELETE", path+"/"+v.ID, one, "")
	if checked != 17 {
		t.Errorf("%d answers were checked", checked)
	}
}

// FuzzRequests sends bodies to the operations that take one: none is answered
// with an error of the server.
func FuzzRequests(f *testing.F) {
	for _, body := range []string{
		`{"name":"n","metadata":{"":""}}`, named(bearer), refresh(`,"scope":null,"token_endpoint_auth":{"type":"none"}`), hosts(`"10.0.0.1","a"`),
		`{"auth":{"type":"static_bearer","token":"t"},"metadata":null}`, `{"auth":null}`, `{"name":"\u0000","auth":` + bearer + `}`,
		`{"auth":{"type":"mcp_oauth","expires_at":null,"refresh":{"scope":null,"token_endpoint_auth":{"type":"client_secret_basic","client_secret":null}}}}`,
	} {
		f.Add(body)
	}
	w := newWorld(f)
	var v, c struct{ ID string }
	for _, made := range []struct {
		at, body string
		to       *struct{ ID string }
	}{{path, `{}`, &v}, {path + "/" + "%s" + "/credentials", refresh(`,"token_endpoint_auth":{"type":"none"}`), &c}} {
		if err := json.Unmarshal([]byte(w.do("POST", strings.Replace(made.at, "%s", v.ID, 1), made.body).body), made.to); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := *w
		w.t = t
		for _, at := range []string{path, path + "/" + v.ID, path + "/" + v.ID + "/credentials", path + "/" + v.ID + "/credentials/" + c.ID, path + "/rewrap"} {
			if a := w.do("POST", at, body); a.status >= http.StatusInternalServerError {
				t.Errorf("POST %s %q: %d %s", at, body, a.status, a.body)
			}
		}
	})
}
