package tokens_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/tokens"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

const (
	issuerURL = "https://stayd.example.com"
	server    = "https://mcp.example.com/mcp"
	grant     = "urn:ietf:params:oauth:grant-type:token-exchange"
	access    = "urn:ietf:params:oauth:token-type:access_token"
)

// door is the protocol on an issuer of its own.
type door struct {
	*httpapi.Server
	issuer *workload.Issuer
	err    error // of whoever looks up the callers
}

func open(tb testing.TB) *door {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), "stayd.db"), sqlite.Options{Logger: log})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	masters, err := keyfile.Open(filepath.Join(tb.TempDir(), "vault.keys"), true)
	if err != nil {
		tb.Fatal(err)
	}
	d := &door{Server: httpapi.New(httpapi.Config{Log: log, RequireKey: true})}
	d.issuer, err = workload.New(workload.Config{
		Store: st, Vaults: vault.New(st, masters, time.Now), URL: issuerURL, TrustDomain: "stayd.example.com", Now: time.Now, Log: log,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tokens.Mount(d.Server, tokens.Config{
		Issuer: d.issuer, Audiences: []string{server}, Now: time.Now,
		Caller: func(_ context.Context, shown string) (identity.Principal, time.Time, error) {
			if d.err != nil {
				return identity.Principal{}, time.Time{}, d.err
			}
			if shown != "key" {
				return identity.Principal{}, time.Time{}, identity.ErrRefused
			}
			return identity.Principal{ID: "key_1", Project: "p", Scope: identity.Write}, time.Time{}, nil
		},
		Subject: func(context.Context, string, string) (workload.Subject, error) {
			return workload.Subject{}, store.ErrNotFound
		},
	})
	return d
}

func (d *door) post(body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func form(pairs ...string) string {
	v := url.Values{"grant_type": {grant}, "subject_token": {"key"}, "subject_token_type": {access}, "audience": {server}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// TestFailures tells apart what is the caller's fault and what is not.
func TestFailures(t *testing.T) {
	d := open(t)
	for _, tt := range []struct {
		name   string
		err    error
		body   string
		status int
		want   string
	}{
		{"good", nil, form(), 200, `"token_type":"Bearer"`},
		{"refused elsewhere", &tokens.RefusedError{Why: `It is of "nobody".`}, form(), 400, `"error_description":"The subject_token is not taken: It is of 'nobody'."`},
		{"the store is away", store.ErrUnavailable, form(), 503, `"code":"service_unavailable"`},
		{"a mistake of ours", errors.New("canary"), form(), 500, "The server could not do this."},
		{"a form that is none", nil, "%zz", 400, "The form cannot be read."},
		{"a large form", nil, strings.Repeat("a", 64<<10+1), 413, `"code":"request_too_large"`},
		{"a description that would not be one", nil, form("audience", "https://x/\n\"ä\\"), 400, `for a token for 'https://x/?'??'.`},
	} {
		d.err = tt.err
		if status, got := d.post(tt.body); status != tt.status || !strings.Contains(got, tt.want) || strings.Contains(got, "canary") {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, got, tt.status, tt.want)
		}
	}
}

// FuzzForm has every form answered as RFC 6749 has it, and a token only for what
// may be asked for.
func FuzzForm(f *testing.F) {
	d := open(f)
	delegation, _, err := d.issuer.Delegation(f.Context(), workload.Subject{Project: "p", Agent: "a", AgentVersion: 1, Session: "s"}, []string{server}, []string{"mail.read"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(form())
	f.Add(form("subject_token", delegation, "scope", "mail.read"))
	f.Add(form("actor_token", delegation, "actor_token_type", access))
	f.Add(form("audience", issuerURL, "audiences", server))
	f.Add(form("scope", "read admin"))
	f.Add("grant_type=" + grant + "&grant_type=" + grant)
	f.Add("%zz;&=&&")
	f.Fuzz(func(t *testing.T, body string) {
		status, got := d.post(body)
		var out struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
			Token       string `json:"access_token"`
			Scope       string `json:"scope"`
		}
		if status == http.StatusRequestEntityTooLarge {
			return
		}
		if err := json.Unmarshal([]byte(got), &out); err != nil {
			t.Fatalf("%q: %d %s: %v", body, status, got, err)
		}
		switch status {
		case http.StatusOK:
			for _, s := range strings.Fields(out.Scope) {
				if s != "read" && s != "write" && s != "mail.read" {
					t.Fatalf("%q is answered with the scope %s", body, out.Scope)
				}
			}
			if out.Token == "" || out.Error != "" {
				t.Fatalf("%q: %s", body, got)
			}
		case http.StatusBadRequest:
			if out.Error == "" || out.Description == "" || out.Token != "" || strings.ContainsAny(out.Description, "\"\\\n") {
				t.Fatalf("%q: %s", body, got)
			}
		default:
			t.Fatalf("%q: %d %s", body, status, got)
		}
	})
}
