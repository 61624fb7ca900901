package credential_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/vault"
)

// TestDue shows when a token is renewed.
func TestDue(t *testing.T) {
	for _, c := range []struct {
		lives, passed time.Duration
		want          string
	}{
		{time.Hour, 0, "access-0"},
		{time.Hour, time.Hour - 61*time.Second, "access-0"},
		{time.Hour, time.Hour - 60*time.Second, "access-1"},
		{time.Hour, 2 * time.Hour, "access-1"},
		{30 * time.Second, 14 * time.Second, "access-0"},
		{30 * time.Second, 15 * time.Second, "access-1"},
	} {
		w, e := newWorld(t), newEndpoint(t)
		n := oauth(e, "")
		expires := start.Add(c.lives).Format(time.RFC3339)
		n.Auth.ExpiresAt = &expires
		w.add(n)
		w.clock.pass(c.passed)
		w.must("", nil, "Bearer "+c.want)
	}
}

// TestRefresh shows what is sent for a new token, and what of it is stored.
func TestRefresh(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	n := oauth(e, "")
	scope := "read write"
	n.Auth.Refresh.Scope = &scope
	id := w.add(n)
	// A refused token is renewed whatever its expiry says, and another's new one taken.
	w.must("", refusal("Bearer access-0"), "Bearer access-1")
	w.must("", refusal("Bearer access-0"), "Bearer access-1")
	if diff := cmp.Diff(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-0"}, "resource": {"https://mcp.example.com"}, "scope": {scope}}, e.form(0)); diff != "" || e.count() != 1 || e.basics[0] != "client:client-canary" {
		t.Errorf("%d requests, by %s: %s", e.count(), e.basics[0], diff)
	}
	o := w.opened(id)
	if got := *o.Auth.ExpiresAt; o.Secrets.RefreshToken.Reveal() != "refresh-1" || got != "2026-05-03T10:00:00Z" {
		t.Errorf("stored are %s, until %s", o.Secrets.RefreshToken.Reveal(), got)
	}
	// Without a new refresh token the one before stays, and a token may not say when it ends.
	e.set(func(int, url.Values) (int, string) { return 200, `{"access_token":"access-x"}` })
	w.clock.pass(time.Hour)
	w.must("", nil, "Bearer access-x")
	if o = w.opened(id); o.Secrets.RefreshToken.Reveal() != "refresh-1" || o.Auth.ExpiresAt != nil {
		t.Errorf("stored are %s, until %v", o.Secrets.RefreshToken.Reveal(), o.Auth.ExpiresAt)
	}
	w.clock.pass(1000 * time.Hour)
	w.must("", nil, "Bearer access-x")
}

// TestOnce has a hundred callers need a new token at the same time, in one process
// and in two on one store.
func TestOnce(t *testing.T) {
	once := func(t *testing.T, w *world) {
		e := newEndpoint(t)
		w.add(oauth(e, ""))
		other, _ := w.process()
		sources := []*credential.Source{w.Source, other}
		for round, ch := range []*tool.Challenge{nil, refusal("Bearer access-1")} {
			w.clock.pass(time.Hour) // the token is over, so that all have to wait for a new one
			want := fmt.Sprintf("Bearer access-%d", round+1)
			atOnce(100, func(i int) {
				if got, err := sources[i%2].Authorize(t.Context(), w.caller(""), mail(), ch); err != nil || got != want {
					t.Errorf("caller %d shows %q: %v, want %q", i, got, err, want)
				}
			})
			if e.count() != round+1 {
				t.Errorf("%d requests for %d tokens", e.count(), round+1)
			}
		}
	}
	t.Run("SQLite", func(t *testing.T) { once(t, newWorld(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		st, err := postgres.Open(t.Context(), pgtest.Start(t))
		if err != nil {
			t.Fatal(err)
		}
		once(t, newWorldOn(t, st))
	})
}

// TestOnceRefused has callers be refused at the same time, of whom each needs
// another token than the one that it had.
func TestOnceRefused(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	w.add(oauth(e, ""))
	atOnce(100, func(i int) {
		if got, err := w.show("", refusal("Bearer access-0")); err != nil || got != "Bearer access-1" {
			t.Errorf("caller %d shows %q: %v", i, got, err)
		}
	})
	if e.count() != 1 {
		t.Errorf("%d requests for one token", e.count())
	}
}

// TestDeadProcess shows that a process which died while it renewed a token keeps
// others from it for a while, and not for ever.
func TestDeadProcess(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	id := w.add(oauth(e, ""))
	w.clock.pass(time.Hour - 30*time.Second)
	if _, held, err := w.vaults.Claim(t.Context(), project, w.vault, id, "dead", 30*time.Second); err != nil || !held {
		t.Fatalf("claimed: %v %v", held, err)
	}
	// The token is good still: nobody waits.
	w.must("", nil, "Bearer access-0")
	if e.count() != 0 {
		t.Error("a token was renewed that another process renews")
	}
	w.clock.pass(30 * time.Second)
	w.must("", nil, "Bearer access-1")

	// Who waits goes on when the right of the other ends.
	if _, held, err := w.vaults.Claim(t.Context(), project, w.vault, id, "dead", 30*time.Second); err != nil || !held {
		t.Fatalf("claimed: %v %v", held, err)
	}
	done := make(chan error)
	go func() {
		got, err := w.Authorize(t.Context(), w.caller(""), mail(), refusal("Bearer access-1"))
		if err == nil && got != "Bearer access-2" {
			err = errors.New("it is " + got)
		}
		done <- err
	}()
	w.clock.pass(31 * time.Second)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLate shows that tokens which come back too late do not overwrite what
// somebody put there meanwhile.
func TestLate(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	id := w.add(oauth(e, ""))
	e.set(func(int, url.Values) (int, string) {
		token, refresh := vault.NewSecret("by hand"), vault.NewSecret("refresh by hand")
		_, err := w.vaults.RotateCredential(t.Context(), project, w.vault, id, vault.Rotation{Auth: &vault.AuthRotation{
			Type: vault.TypeOAuth, Token: &token, Refresh: &vault.RefreshRotation{RefreshToken: &refresh},
		}}, event.Input{})
		if err != nil {
			t.Error(err)
		}
		return 200, `{"access_token":"late","refresh_token":"late too"}`
	})
	w.must("", refusal("Bearer access-0"), "Bearer by hand")
	if o := w.opened(id); o.Secrets.RefreshToken.Reveal() != "refresh by hand" {
		t.Errorf("the refresh token is %s", o.Secrets.RefreshToken.Reveal())
	}
}

// TestEndpointAway shows that an old token is used until it ends where a new one
// cannot be had, and that not every call tries that again.
func TestEndpointAway(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	id := w.add(oauth(e, "ana"))
	e.set(func(int, url.Values) (int, string) { return 503, "away refresh-0 client-canary" })
	w.clock.pass(time.Hour - 30*time.Second)
	for range 3 {
		w.must("ana", nil, "Bearer access-0")
	}
	if e.count() != 1 {
		t.Errorf("%d requests within a moment", e.count())
	}
	w.clock.pass(11 * time.Second)
	w.must("ana", nil, "Bearer access-0")
	if e.count() != 2 {
		t.Errorf("%d requests, want another after a pause", e.count())
	}
	w.refused("ana", refusal("Bearer access-0"), id, "answered with status 503")
	w.clock.pass(20 * time.Second)
	w.refused("ana", nil, id, "could not be renewed")
	e.set(func(int, url.Values) (int, string) { return 200, `{"access_token":"back"}` })
	w.must("ana", nil, "Bearer back")
	w.secret("refresh-0", "client-canary")
}

// secret wants none of the texts in the log.
func (w *world) secret(texts ...string) {
	w.t.Helper()
	for _, s := range texts {
		if strings.Contains(w.log.String(), s) {
			w.t.Errorf("the log has %q: %s", s, w.log)
		}
	}
}

// TestInvalidGrant shows what a refresh token that is not taken any more leads to.
func TestInvalidGrant(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	ours := w.add(oauth(e, ""))
	e.set(fails("invalid_grant", "the token refresh-0 of client-canary was revoked"))
	w.clock.pass(2 * time.Hour)
	w.refused("", nil, ours, "not valid any more", "invalid_grant: the token [secret] of [secret] was revoked", "put new tokens there")
	hers := w.add(oauth(e, "ana"))
	if asked := w.consent(nil); asked.Server != server || asked.Metadata == "" {
		t.Errorf("asked: %+v", asked)
	}
	w.consent(refusal("Bearer access-0"))
	// A credential that the agent names is not replaced by another that somebody
	// consents to.
	named := mail()
	named.CredentialID = hers
	_, err := w.Authorize(t.Context(), w.caller("ana"), named, nil)
	var te *tool.Error
	if !errors.As(err, &te) || !strings.Contains(te.Message, hers) {
		t.Errorf("named: %v", err)
	}
	w.secret("refresh-0", "client-canary")
}

// TestStrangeAnswers shows that what a token endpoint answers is cut to what can be
// used and what can be shown.
func TestStrangeAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		``:   "gave no answer that can be read",
		`{}`: "gave no answer that can be read",
		`{"access_token":"refresh-0 in the token","token_type":"mac"}`:                      "a token that is not a bearer token: mac",
		`{"access_token":"a\r\nb"}`:                                                         "access_token",
		`{"error":"` + strings.Repeat("e", 5000) + `"}`:                                     "answered " + strings.Repeat("e", 64) + "...",
		`{"error":"x","error_description":"` + strings.Repeat("d", 5000) + `"}`:             "x: " + strings.Repeat("d", 200) + "...",
		`{"error":"x","error_description":"\u0000\u001b[31m\u202e\nrefresh-0"}`:             "x: ??[31m??[secret]",
		`{"error":"x","error_description":"client%2Dcanary refresh%2D0 and client-canary"}`: "and [secret]",
		`{"error":{"code":1}}`: "gave no answer that can be read",
		`[1,2]`:                "gave no answer that can be read",
	} {
		w, e := newWorld(t), newEndpoint(t)
		w.add(oauth(e, ""))
		e.set(func(int, url.Values) (int, string) { return 200, answer })
		w.refused("", refusal("Bearer access-0"), want)
		_, err := w.show("", refusal("Bearer access-0"))
		if err == nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "refresh-0") || strings.Contains(err.Error(), "client-canary") {
			t.Errorf("%.40s: the error is %v", answer, err)
		}
	}
}

// TestWaiters shows that a caller who goes away takes nothing from those who wait
// for the same token.
func TestWaiters(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	w.add(oauth(e, ""))
	asked, answer := make(chan struct{}), make(chan struct{})
	e.set(func(int, url.Values) (int, string) {
		close(asked)
		<-answer
		return 200, `{"access_token":"new"}`
	})
	ctx, cancel := contextOf(t)
	var all sync.WaitGroup
	all.Go(func() {
		if got, err := w.Authorize(ctx, w.caller(""), mail(), refusal("Bearer access-0")); err == nil {
			t.Errorf("who went away has %q", got)
		}
	})
	<-asked
	all.Go(func() { w.must("", refusal("Bearer access-0"), "Bearer new") })
	cancel()
	close(answer)
	all.Wait()
	if e.count() != 1 {
		t.Errorf("%d requests", e.count())
	}
}

// TestKept shows that tokens that were got are stored though others change the
// credential all the time, and that this has time of its own.
func TestKept(t *testing.T) {
	st := newHooked(t)
	w, e := newWorldOn(t, st), newEndpoint(t)
	id := w.add(oauth(e, ""))
	var mu sync.Mutex
	var ends []time.Time // of the writes, by the deadlines of their contexts
	st.set(nil, func(ctx context.Context, _ string) error {
		end, _ := ctx.Deadline()
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, end)
		if n := len(ends); n > 1 && n < 12 { // the first is the claim
			return store.ErrConflict
		}
		return nil
	})
	w.must("", refusal("Bearer access-0"), "Bearer access-1")
	if o := w.opened(id); o.Secrets.RefreshToken.Reveal() != "refresh-1" || e.count() != 1 {
		t.Errorf("stored is %s after %d requests", o.Secrets.RefreshToken.Reveal(), e.count())
	}
	if last := ends[len(ends)-1]; last.IsZero() || last.Equal(ends[0]) {
		t.Errorf("what is left of the time for the request until %s is all that there is for storing, until %s", ends[0], last)
	}
}

// TestNeeded shows that who cannot do without a new token waits for another process
// that gets it, though there are callers who do not wait.
func TestNeeded(t *testing.T) {
	st := newHooked(t)
	w, e := newWorldOn(t, st), newEndpoint(t)
	id := w.add(oauth(e, ""))
	w.clock.pass(time.Hour - 30*time.Second)
	if _, held, err := w.vaults.Claim(t.Context(), project, w.vault, id, "another process", 30*time.Second); err != nil || !held {
		t.Fatalf("claimed: %v %v", held, err)
	}
	var looks atomic.Int32
	first, second := make(chan struct{}), make(chan struct{})
	st.set(func(ctx context.Context, kind string) error {
		if !strings.HasPrefix(kind, store.KindCredential+"/") {
			return nil
		}
		switch looks.Add(1) {
		case 1:
			close(first)
			select {
			case <-second:
			case <-ctx.Done():
				return ctx.Err()
			}
		case 2:
			close(second)
		}
		return nil
	}, nil)
	var patient, hasty sync.WaitGroup
	hasty.Go(func() { w.must("", nil, "Bearer access-0") })
	<-first
	patient.Go(func() { w.must("", refusal("Bearer access-0"), "Bearer access-1") })
	hasty.Wait()
	if err := w.vaults.Release(t.Context(), project, w.vault, id, "another process"); err != nil {
		t.Error(err)
	}
	patient.Wait()
}
