package session_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// forked folds the fork of a state into it.
func forked(t *testing.T, s *session.State, id string, p event.SessionForked) {
	t.Helper()
	p.From, p.At = s.ID, s.Seq
	if err := foldAs(t, s, id, &p); err != nil {
		t.Fatal(err)
	}
}

// foldAs folds a payload in a record of the session named.
func foldAs(t *testing.T, s *session.State, id string, p event.Payload) error {
	t.Helper()
	data, err := event.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	r := &event.Record{Session: id, Seq: s.Seq + 1, Kind: p.Kind(), Version: event.Version, Data: data, Salt: make([]byte, event.SaltSize)}
	r.Seal(s.Hash)
	return session.Fold(s, r)
}

func TestForkLeavesWhatIsOpen(t *testing.T) {
	s, ask, approve, unknown := waiting(t)
	spent := s.Usage.Total()
	limit := int64(5)
	forked(t, s, "fork", event.SessionForked{Metadata: map[string]string{"a": "b"}, SpendLimit: &event.SpendLimit{Limit: &limit}})
	switch {
	case s.ID != "fork" || s.Metadata["a"] != "b" || *s.SpendLimit != 5 || s.Forked.From != "sess" || s.ForkedAt != s.Seq:
		t.Errorf("the fork is %s %v, limit %v, of %+v at %d", s.ID, s.Metadata, s.SpendLimit, s.Forked, s.ForkedAt)
	case spent == 0 || s.Usage.Total() != 0:
		t.Errorf("the fork has spent %d of the %d tokens that the other has", s.Usage.Total(), spent)
	case s.Status() != session.InProgress || len(s.OpenEffects()) != 0:
		t.Errorf("the fork is %s with %d open effects", s.Status(), len(s.OpenEffects()))
	}
	for _, e := range []*session.Effect{ask, approve, unknown} {
		now := s.Effect(e.ID)
		en, _ := s.Item(e.ItemID)
		if now.Open || now.Status != session.EffectUnknown || en.Status != event.StatusIncomplete || en.Error != session.ForkedMessage {
			t.Errorf("%s is open %v, %s; its item is %s %q", e.Name, now.Open, now.Status, en.Status, en.Error)
		}
	}
	// The model is shown every call with an output.
	outputs := 0
	for _, it := range s.Context() {
		if it.Type == event.ItemFunctionCallOutput && it.Error == session.ForkedMessage {
			outputs++
		}
	}
	if outputs != 3 {
		t.Errorf("the model is told of %d open calls, want 3", outputs)
	}
	fold(t, s, answered(s, event.Item{Type: event.ItemMessage}), &event.TurnEnded{TurnID: "t1", Status: session.TurnCompleted})
	if s.Status() != session.Idle {
		t.Errorf("after the turn the fork is %s", s.Status())
	}
}

// TestForkOfFork folds through two borders, and refuses records of others.
func TestForkOfFork(t *testing.T) {
	s := session.New("")
	if err := foldAs(t, s, "a", &event.SessionCreated{Input: event.Input{Key: "k"}, Environment: event.Environment{Type: event.EnvironmentHosted, ID: "env_a"}}); err != nil {
		t.Fatal(err)
	}
	fold(t, s, &event.EnvironmentChanged{Status: session.PlaceConnected, Epoch: 3, Reset: 2}, &event.Snapshot{Root: event.Hash{7}, Files: 2, Bytes: 3})
	forked(t, s, "b", event.SessionForked{Input: event.Input{Key: "k2"}, EnvironmentID: "env_b"})
	if s.Place.Status != session.PlaceSuspended || s.Place.Epoch != 0 || s.Place.Resets != 0 || s.Place.Root != (event.Hash{7}) || s.Environment.ID != "env_b" {
		t.Errorf("the fork's environment is %s, %+v", s.Environment.ID, s.Place)
	}
	if _, ok := s.SeenKey("k"); ok {
		t.Error("the fork knows the other's idempotency key")
	}
	fold(t, s, input("t1", "one"))
	for what, err := range map[string]error{
		"a record of the first": foldAs(t, s.Clone(), "a", input("t2", "two")),
		"a fork of the first":   foldAs(t, s.Clone(), "c", &event.SessionForked{From: "a", At: s.Seq}),
		"a fork of elsewhere":   foldAs(t, s.Clone(), "c", &event.SessionForked{From: "b", At: s.Seq - 1}),
		"a fork of itself":      foldAs(t, s.Clone(), "b", &event.SessionForked{From: "b", At: s.Seq}),
	} {
		if !errors.Is(err, session.ErrImpossible) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	forked(t, s, "c", event.SessionForked{EnvironmentID: "env_c"})
	fold(t, s, answered(s, event.Item{Type: event.ItemMessage}))
	if en := s.Items[len(s.Items)-1]; en.ID != session.ItemID("c", "t1", 1, 0) {
		t.Errorf("the item is %s", en.ID)
	}
}

// TestArtifacts are published when a turn completes, and not before.
func TestArtifacts(t *testing.T) {
	s := newSession(t, event.Agent{})
	root := func(n byte) event.Hash { return event.Hash{n} }
	paths := func() (out []string) {
		for _, a := range s.Artifacts {
			out = append(out, a.TurnID+" "+a.Path)
		}
		return out
	}
	want := func(when string, list ...string) {
		t.Helper()
		if got := paths(); !slices.Equal(got, list) {
			t.Errorf("%s: %q, want %q", when, got, list)
		}
	}
	fold(t, s, input("t1", "x"), &event.Snapshot{Root: root(1), Artifacts: []event.ArtifactFile{{Path: "artifacts/b", Size: 1}, {Path: "artifacts/a", Size: 2}}})
	want("while the turn runs")
	fold(t, s, &event.TurnEnded{TurnID: "t1", Status: session.TurnFailed, Error: &event.TurnError{Code: "x"}})
	want("after a turn that failed")
	fold(t, s, input("t2", "x"), &event.Snapshot{Root: root(2), Artifacts: []event.ArtifactFile{{Path: "artifacts/a", Size: 3}}})
	fold(t, s, answered(s, event.Item{Type: event.ItemMessage}), &event.TurnEnded{TurnID: "t2", Status: session.TurnCompleted})
	want("after a turn that completed", "t2 artifacts/a", "t2 artifacts/b")
	if a, b := s.Artifacts[0], s.Artifacts[1]; a.Root != root(2) || a.Size != 3 || b.Root != root(1) || a.ID == b.ID || a.CreatedAt.IsZero() {
		t.Errorf("the artifacts are %+v", s.Artifacts)
	}
	fold(t, s, &event.ArtifactDeleted{ArtifactID: s.Artifacts[0].ID})
	want("after one was deleted", "t2 artifacts/b")
	if err := foldAs(t, s.Clone(), "sess", &event.ArtifactDeleted{ArtifactID: "artifact_none"}); !errors.Is(err, session.ErrImpossible) {
		t.Errorf("the deletion of what is not there: %v", err)
	}
}
