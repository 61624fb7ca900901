package vaults_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/httpapi/vaults"
	"github.com/stayd/stayd/internal/vault"
)

// An actor's credentials are deleted in all vaults, however many they are, and what
// the actor consented to is taken back. Those of others, of nobody in particular and
// of other projects stay.
func TestForgetter(t *testing.T) {
	w := newWorld(t)
	var taken []string
	forget := vaults.Forgetter(vaults.Config{Vaults: w.vaults, Revoke: func(_ context.Context, all []vault.Opened) {
		for _, o := range all {
			taken = append(taken, o.Auth.Actor+": "+o.Secrets.RefreshToken.Reveal())
		}
	}})
	add := func(w *world, n int, actors ...string) string {
		t.Helper()
		var v struct{ ID string }
		w.must(&v, 200, "POST", path, `{}`)
		for _, actor := range actors {
			for range n {
				w.must(nil, 200, "POST", path+"/"+v.ID+"/credentials", `{"actor":"`+actor+`",`+bearerBody+`}`)
			}
		}
		w.must(nil, 200, "POST", path+"/"+v.ID+"/credentials", `{`+bearerBody+`}`)
		return v.ID
	}
	first, second, theirs := add(w, 103, "ana"), add(w, 2, "bob", "ana"), add(w.another(), 1, "ana")
	for _, actor := range []string{"ana", "bob"} {
		_, err := w.vaults.PutConsented(t.Context(), "a", second, vault.NewCredential{
			Name: "c", Auth: vault.Auth{
				Type: vault.TypeOAuth, Actor: actor, ServerURL: "https://a.example.com",
				Consent: &vault.Consent{ClientID: "c", TokenEndpointAuth: vault.ClientNone, RevocationEndpoint: "https://login.example.com/revoke"},
				Refresh: &vault.Refresh{ClientID: "c", TokenEndpoint: "https://login.example.com/token", TokenEndpointAuth: vault.ClientNone},
			},
			Secrets: vault.Secrets{Token: vault.NewSecret("access"), RefreshToken: vault.NewSecret("refresh")},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	left := func(project, id string) string {
		t.Helper()
		list, err := w.vaults.ListCredentials(t.Context(), project, id, vault.Page{Asc: true, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		var actors []string
		for i := range list {
			actors = append(actors, "'"+list[i].Auth.Actor+"'")
		}
		return strings.Join(actors, " ")
	}
	for _, want := range []int{106, 0} {
		if n, err := forget(t.Context(), "a", "ana"); n != want || err != nil {
			t.Errorf("deleted %d, %v; want %d", n, err, want)
		}
	}
	for _, tt := range []struct{ project, vault, want string }{{"a", first, "''"}, {"a", second, "'bob' 'bob' '' 'bob'"}, {"b", theirs, "'ana' ''"}} {
		if got := left(tt.project, tt.vault); got != tt.want {
			t.Errorf("left in a vault of %s is %s, want %s", tt.project, got, tt.want)
		}
	}
	if got := strings.Join(taken, ", "); got != "ana: refresh" {
		t.Errorf("taken back is %q", got)
	}
}
