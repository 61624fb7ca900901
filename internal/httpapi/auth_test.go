package httpapi_test

import (
	"context"
	"testing"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
)

// TestActFor has whom a caller may act for, and what is answered of another.
func TestActFor(t *testing.T) {
	const refused = `{"error":{"message":"Whoever shows this token acts for 'ann' and for nobody else.","type":"invalid_request_error","param":"actor","code":"actor_not_allowed"}}`
	for _, tt := range []struct {
		name, own, asked string
		status           int
		want             string
	}{
		{"anybody", "", "bob", 200, `"bob"`},
		{"nobody in particular", "", "", 200, `""`},
		{"itself where nobody is asked for", "ann", "", 200, `"ann"`},
		{"itself", "ann", "ann", 200, `"ann"`},
		{"another", "ann", "bob", 403, refused},
		{"another spelling", "ann", "Ann", 403, refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httpapi.New(httpapi.Config{RequireKey: true, Callers: func(context.Context, string) (identity.Principal, error) {
				return identity.Principal{Project: "p", Scope: identity.Read, Actor: tt.own}, nil
			}})
			s.Register(httpapi.Operation{
				Method: "GET", Path: "/v1/actor", ID: "actor", Bound: true, Summary: "Whom the caller acts for", Result: "",
				Do: func(c *httpapi.Call) (any, error) { return c.ActFor(tt.asked) },
			})
			w := request(s, "GET", "/v1/actor", "", "Authorization", "Bearer "+identity.Prefix+"x")
			if w.Code != tt.status || w.Body.String() != tt.want {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}
