package identity_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func keys(t *testing.T) (*identity.Keys, *clock, string) {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, "stayd.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() }) // a test that failed says so otherwise
	c := &clock{at: time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)}
	return &identity.Keys{Store: st, Now: c.now}, c, dir
}

// taken reports whether the key is taken, and fails where it is somebody else's.
func taken(t *testing.T, k *identity.Keys, text string, want identity.Principal) bool {
	t.Helper()
	p, err := k.Check(t.Context(), text)
	if err != nil && !errors.Is(err, identity.ErrRefused) {
		t.Fatal(err)
	}
	if err == nil && p != want {
		t.Errorf("the key is %+v's, want %+v", p, want)
	}
	return err == nil
}

func TestKeyEnds(t *testing.T) {
	k, clock, _ := keys(t)
	made, text, err := k.Create(t.Context(), "", identity.NewKey{Project: "p", Name: "ci", Scope: identity.Write, ExpiresAt: clock.at.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Principal{ID: made.ID, Project: "p", Scope: identity.Write, Until: clock.at.Add(time.Hour)}
	if !taken(t, k, text, who) || made.Hint != text[len(text)-4:] {
		t.Errorf("a new key %+v is not taken, or its hint is another", made)
	}
	clock.pass(time.Hour - time.Microsecond)
	if !taken(t, k, text, who) {
		t.Error("the key is refused before it expires")
	}
	clock.pass(time.Microsecond)
	if taken(t, k, text, who) {
		t.Error("the key is taken after it expired")
	}

	made, text, err = k.Create(t.Context(), "", identity.NewKey{Project: "p", Scope: identity.Read})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Revoke(t.Context(), "other", made.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key is revoked from another project: %v", err)
	}
	if !taken(t, k, text, identity.Principal{ID: made.ID, Project: "p", Scope: identity.Read}) {
		t.Error("a key that another project revoked is refused")
	}
	if _, err := k.Revoke(t.Context(), "p", made.ID); err != nil {
		t.Fatal(err)
	}
	if taken(t, k, text, identity.Principal{}) {
		t.Error("a revoked key is taken")
	}
	var revoked *identity.RevokedError
	if _, _, err := k.Rotate(t.Context(), "p", made.ID, 0); !errors.As(err, &revoked) || revoked.ID != made.ID {
		t.Errorf("a revoked key is rotated: %v", err)
	}
}

func TestRotate(t *testing.T) {
	k, clock, _ := keys(t)
	made, first, err := k.Create(t.Context(), "", identity.NewKey{Project: "p", Scope: identity.Admin})
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Principal{ID: made.ID, Project: "p", Scope: identity.Admin}
	_, second, err := k.Rotate(t.Context(), "p", made.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !taken(t, k, first, who) || !taken(t, k, second, who) {
		t.Error("while both overlap, both are taken")
	}
	clock.pass(time.Minute)
	if taken(t, k, first, who) || !taken(t, k, second, who) {
		t.Error("after that the new one alone is")
	}
	_, third, err := k.Rotate(t.Context(), "p", made.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if taken(t, k, second, who) || !taken(t, k, third, who) {
		t.Error("without an overlap the old one ends at once")
	}
}

// Two that rotate at once both get a secret that is taken.
func TestRotateAtOnce(t *testing.T) {
	k, _, _ := keys(t)
	made, _, err := k.Create(t.Context(), "", identity.NewKey{Project: "p", Scope: identity.Admin})
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, 4)
	var wg sync.WaitGroup
	for i := range texts {
		wg.Go(func() {
			var err error
			if _, texts[i], err = k.Rotate(t.Context(), "p", made.ID, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, text := range texts {
		if !taken(t, k, text, identity.Principal{ID: made.ID, Project: "p", Scope: identity.Admin}) {
			t.Errorf("the secret of rotation %d is refused", i)
		}
	}
}

// What is not a key, or is one but for a letter, is refused in the same words.
func TestRefusedKeys(t *testing.T) {
	k, _, _ := keys(t)
	made, text, err := k.Create(t.Context(), "", identity.NewKey{Project: "p", Scope: identity.Owner})
	if err != nil {
		t.Fatal(err)
	}
	head, secret, _ := strings.Cut(text, ".")
	named := func(s string) string { return identity.Prefix + base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for _, shown := range []string{
		"", "stayd_", "stayd_.", "stayd_.x", "sk-abc", head, head + ".", head + "." + secret[1:], head + "." + secret + "A", head + "." + strings.ToUpper(secret),
		named("p/" + made.ID), named("q/"+made.ID) + "." + secret, named("p/key_other") + "." + secret, named("p") + "." + secret, named("/"+made.ID) + "." + secret,
		named("p/") + "." + secret, "stayd_!!." + secret, strings.ToUpper(text), text + ".x", " " + text,
	} {
		if _, err := k.Check(t.Context(), shown); err == nil || err.Error() != identity.ErrRefused.Error() {
			t.Errorf("%q: %v", shown, err)
		}
	}
}

// Nothing of a secret is in the store.
func TestSecretsAreNotKept(t *testing.T) {
	k, _, dir := keys(t)
	var secrets []string
	for range 20 {
		made, text, err := k.Create(t.Context(), "", identity.NewKey{Project: "p", Scope: identity.Read})
		if err != nil {
			t.Fatal(err)
		}
		_, other, err := k.Rotate(t.Context(), "p", made.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{text, other} {
			_, secret, _ := strings.Cut(s, ".")
			secrets = append(secrets, secret[:len(secret)-4])
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("the files of the store: %v, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("a secret stands in %s", filepath.Base(name))
			}
		}
	}
}

func TestScopes(t *testing.T) {
	for _, tt := range []struct {
		has, wants identity.Scope
		may        bool
	}{
		{identity.Read, identity.Read, true},
		{identity.Read, identity.Write, false},
		{identity.Write, identity.Read, true},
		{identity.Write, identity.Admin, false},
		{identity.Admin, identity.Write, true},
		{identity.Admin, identity.Owner, false},
		{identity.Owner, identity.Admin, true},
		{"", identity.Read, false},
		{"all", identity.Read, false},
		{identity.Owner, "all", false},
		{"", "", false},
	} {
		if got := tt.has.Includes(tt.wants); got != tt.may {
			t.Errorf("%q includes %q: %t", tt.has, tt.wants, got)
		}
	}
}

// FuzzCheck shows that whatever is shown as a key is refused and breaks nothing.
func FuzzCheck(f *testing.F) {
	f.Add("stayd_cC9rZXk.c2VjcmV0")
	f.Add("stayd_.")
	f.Fuzz(func(t *testing.T, shown string) {
		k, _, _ := keys(t)
		if _, err := k.Check(t.Context(), shown); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("%q: %v", shown, err)
		}
	})
}

// asked is a store that counts how often it is asked.
type asked struct {
	store.Objects
	n int
}

func (a *asked) Object(ctx context.Context, project, kind, id string) (store.Object, error) {
	a.n++
	return a.Objects.Object(ctx, project, kind, id)
}

// Of what no key can be the store is not asked.
func TestNoKeyAtAll(t *testing.T) {
	k, _, _ := keys(t)
	a := &asked{Objects: k.Store}
	k.Store = a
	for _, name := range []string{
		"p", "p/", "/id", "", "p p/id", "p\x00/id", "\xff/id", "é/id", "p.q/id", strings.Repeat("p", 65) + "/id",
		"p/a b", "p/a\x00", "p/\xff", "p/é", "p/a\n", "p/\x7f",
	} {
		shown := identity.Prefix + base64.RawURLEncoding.EncodeToString([]byte(name)) + ".secret"
		if _, err := k.Check(t.Context(), shown); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if a.n != 0 {
		t.Errorf("the store was asked %d times", a.n)
	}
	for _, name := range []string{"p/id", strings.Repeat("P", 64) + "/a/b!", "a_1-Z/key_1"} {
		shown := identity.Prefix + base64.RawURLEncoding.EncodeToString([]byte(name)) + ".secret"
		if _, err := k.Check(t.Context(), shown); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if a.n != 3 {
		t.Errorf("the store was asked %d times for keys that there could be, want 3", a.n)
	}
}
