package workload_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/vault"
)

// counted is a key of a service that counts what it signs.
type counted struct {
	key  *ecdsa.PrivateKey
	n    atomic.Int64
	away atomic.Bool
	// asked is sent to when it is asked, and wait closed when it may sign; nil is at once.
	asked, wait chan struct{}
}

func (c *counted) Public() crypto.PublicKey { return c.key.Public() }

func (c *counted) Algorithm() string { return workload.ES256 }

func (c *counted) Sign(_ context.Context, message []byte) ([]byte, error) {
	c.n.Add(1)
	if c.wait != nil {
		c.asked <- struct{}{}
		<-c.wait
	}
	if c.away.Load() {
		return nil, errors.New("the service is away")
	}
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, c.key, digest[:])
	if err != nil {
		return nil, err
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
}

// counting is an issuer that signs by a key that counts, of which there is another
// after each call of next.
func (w *world) counting() (i *workload.Issuer, first *counted, next func()) {
	w.t.Helper()
	keys := map[string]*counted{}
	next = func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		keys[string(rune('a'+len(keys)))] = &counted{key: key}
	}
	next()
	cfg := w.config()
	cfg.Remote = "alias"
	cfg.Open = func(_ context.Context, name string) (workload.Signer, string, error) {
		if name == "alias" {
			name = string(rune('a' + len(keys) - 1))
		}
		return keys[name], name, nil
	}
	return w.nodeOf(cfg), keys["a"], next
}

func (w *world) show(i *workload.Issuer, s workload.Subject, audience, refused string, scope ...string) string {
	w.t.Helper()
	token, err := i.Show(context.Background(), s, audience, scope, refused)
	if err != nil {
		w.t.Error(err)
	}
	return token
}

// TestShow counts what is signed for what is shown: once for the same subject,
// audience and scope, for half of a token's life.
func TestShow(t *testing.T) {
	w := newWorld(t)
	i, key, _ := w.counting()
	first := w.show(i, ann, server, "", "mail.read")
	for range 100 {
		if got := w.show(i, ann, server, "", "mail.read"); got != first {
			t.Fatal("another is shown")
		}
	}
	if n := key.n.Load(); n != 1 {
		t.Errorf("signed %d times, want once", n)
	}
	bob, alone, other1, version, by, parent := ann, ann, ann, ann, ann, ann
	bob.Actor, alone.Actor, other1.Session, version.AgentVersion, by.By, parent.Parents = "bob", "", "sess_2", 4, "key_2", []string{"sess_0"}
	shown := map[string]bool{first: true}
	for what, token := range map[string]string{
		"another person": w.show(i, bob, server, "", "mail.read"), "nobody": w.show(i, alone, server, "", "mail.read"), "another session": w.show(i, other1, server, "", "mail.read"),
		"another version": w.show(i, version, server, "", "mail.read"), "another caller": w.show(i, by, server, "", "mail.read"), "a session above": w.show(i, parent, server, "", "mail.read"),
		"another server": w.show(i, ann, other, "", "mail.read"), "another scope": w.show(i, ann, server, "", "mail.write"), "no scope": w.show(i, ann, server, ""),
		"two scopes": w.show(i, ann, server, "", "mail.read", "mail.write"),
	} {
		if shown[token] {
			t.Errorf("%s: the same token", what)
		}
		shown[token] = true
	}
	if n := key.n.Load(); n != 11 {
		t.Errorf("signed %d times, want 11", n)
	}
	w.clock.pass(5*time.Minute - time.Second)
	if got := w.show(i, ann, server, "", "mail.read"); got != first {
		t.Error("another is shown before half of its life")
	}
	w.clock.pass(time.Second)
	if got := w.show(i, ann, server, "", "mail.read"); got == first {
		t.Error("it is shown after half of its life")
	}
	// A caller who asks for a token to have has one of its own.
	if got := w.token(i, ann); got == w.token(i, ann) {
		t.Error("tokens that are asked for are the same")
	}
}

// TestShowAtOnce has many ask for the same while the key signs.
func TestShowAtOnce(t *testing.T) {
	w := newWorld(t)
	i, key, _ := w.counting()
	w.show(i, alone, server, "")
	key.asked, key.wait = make(chan struct{}, 50), make(chan struct{})
	left, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := i.Show(left, ann, server, nil, "")
		gone <- err
	}()
	<-key.asked
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away has %v", err)
	}
	var all sync.WaitGroup
	tokens := make([]string, 50)
	for n := range tokens {
		all.Go(func() { tokens[n] = w.show(i, ann, server, "") })
	}
	close(key.wait)
	all.Wait()
	for _, token := range tokens {
		if token != tokens[0] {
			t.Fatal("two tokens are shown")
		}
	}
	if n := key.n.Load(); n != 2 {
		t.Errorf("signed %d times, want 2", n)
	}
}

// TestShowRefused shows what comes in the place of a token that a server refused.
func TestShowRefused(t *testing.T) {
	w := newWorld(t)
	i, key, _ := w.counting()
	first := w.show(i, ann, server, "")
	if got := w.show(i, ann, server, first); got != first {
		t.Error("in the place of one that was new there is another")
	}
	second := w.show(i, ann, server, "")
	if second == first {
		t.Error("one that was refused is shown again")
	}
	w.show(i, ann, server, "")
	third := w.show(i, ann, server, second)
	if third == second || key.n.Load() != 3 {
		t.Errorf("in the place of one that was shown again there is the same, signed %d times", key.n.Load())
	}
	if got := w.show(i, ann, server, second); got != third {
		t.Error("whom the old one was refused as well has not the new one")
	}
}

// TestShowRotated shows that no token is shown whose key signs no more or was revoked:
// at once in the process that knows of it, and after ten seconds in others.
func TestShowRotated(t *testing.T) {
	w := newWorld(t)
	i, _, next := w.counting()
	first := w.show(i, ann, server, "")
	next()
	if _, err := i.Rotate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := w.show(i, ann, server, ""); got != first {
		t.Error("another is shown before the next key signs")
	}
	w.clock.pass(time.Minute)
	kept := w.show(i, bobOf(ann), server, "") // by the old key, good for five minutes more
	w.clock.pass(5*time.Minute + time.Second)
	if got := w.show(i, bobOf(ann), server, ""); got == kept {
		t.Error("a token of the old key is shown when the next one signs")
	}

	second := w.show(i, ann, server, "")
	next()
	if _, err := i.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	third := w.show(i, ann, server, "")
	if third == second || verify(w.published(i), third) != nil || verify(w.published(i), second) == nil {
		t.Error("a token of a revoked key is shown")
	}
}

// TestShowMeanwhile shows that a token which the next key signed, as its time came
// while the token was made, is shown as one of that key.
func TestShowMeanwhile(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Now = func() time.Time {
		now := w.clock.Now()
		w.clock.pass(time.Millisecond)
		return now
	}
	i := w.nodeOf(cfg)
	keys, err := i.Rotate(t.Context(), false)
	if err != nil || len(keys) != 2 {
		t.Fatalf("the keys are %+v: %v", keys, err)
	}
	w.clock.pass(keys[1].SignsFrom.Sub(w.clock.Now()) - time.Nanosecond)
	first := w.show(i, ann, server, "")
	if header := part(t, first, 0); !strings.Contains(header, keys[1].ID) {
		t.Fatalf("it is not signed by the next key: %s", header)
	}
	if again := w.show(i, ann, server, ""); again != first {
		t.Error("another is shown, though the key that signed the first signs still")
	}
}

func bobOf(s workload.Subject) workload.Subject {
	s.Actor = "bob"
	return s
}

// TestShowElsewhere shows how long another process shows a token of a key that was
// revoked: as long as it would sign by that key.
func TestShowElsewhere(t *testing.T) {
	w := newWorld(t)
	here, there := w.node(), w.node()
	first := w.show(there, ann, server, "")
	if _, err := here.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(10 * time.Second)
	if got := w.show(there, ann, server, ""); got == first {
		t.Error("a token of a revoked key is shown after ten seconds")
	}
}

// TestShowFailed shows that nothing is shown where nothing can be signed, and that it
// is tried again.
func TestShowFailed(t *testing.T) {
	w := newWorld(t)
	i, key, _ := w.counting()
	key.away.Store(true)
	if got, err := i.Show(t.Context(), ann, server, nil, ""); err == nil || got != "" {
		t.Errorf("shown is %q", got)
	}
	key.away.Store(false)
	if got := w.show(i, ann, server, ""); got == "" {
		t.Error("nothing is shown")
	}
	var off *workload.OffError
	cfg := w.config()
	cfg.Store, cfg.Vaults = newWorld(t).store, vault.New(w.store, vault.Unset("name one"), w.clock.Now)
	if _, err := w.nodeOf(cfg).Show(t.Context(), ann, server, nil, ""); !errors.As(err, &off) {
		t.Errorf("without a master key: %v", err)
	}
}
