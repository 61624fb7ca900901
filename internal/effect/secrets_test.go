package effect_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// way is a proxy that nobody uses, with the secrets that it was made with.
type way struct{ secrets *environment.Secrets }

func (w *way) Serve(net.Listener) error     { return nil }
func (w *way) Variables() map[string]string { return nil }
func (w *way) Certificates() []byte         { return nil }
func (w *way) Close() error                 { return nil }

// secretly is a job of an environment with a network, for somebody.
func secretly(actor string) effect.Job {
	j := job(event.EffectTool, event.Once, 1)
	j.Environment.Network = &event.Network{}
	j.Caller = tool.Caller{Project: "p", Session: "s", Actor: actor, Vaults: []string{"vault"}}
	return j
}

// An environment is opened anew for somebody whose secrets are others, with the
// files that it had; for somebody with the same it stays open, and what is asked
// from then on is asked for them.
func TestSecretsAreOfWhoSpeaks(t *testing.T) {
	var ways []*way
	h := newHousehold(t, func(_ context.Context, workspace string) (tool.Result, error) {
		file := filepath.Join(workspace, "result")
		if _, err := os.Stat(file); err != nil && len(ways) > 1 {
			t.Error("the files are gone")
		}
		return tool.Text("done"), os.WriteFile(file, []byte("42"), 0o600)
	})
	of := map[string]string{"": "cred_all", "ann": "cred_ann", "bob": "cred_all"}
	var asked string
	h.Environments.Secrets = func(_ context.Context, c tool.Caller) ([]environment.Secret, error) {
		asked = c.Actor
		return []environment.Secret{{ID: of[c.Actor], Name: "TOKEN"}}, nil
	}
	h.Environments.Egress = func(_ *event.Network, s *environment.Secrets, _ func(event.EgressRequest)) (environment.Proxy, error) {
		ways = append(ways, &way{s})
		return ways[len(ways)-1], nil
	}
	root := event.Hash{}
	for i, step := range []struct {
		actor string
		opens bool
	}{{"", true}, {"", false}, {"bob", false}, {"ann", true}, {"ann", false}, {"", true}} {
		before := len(ways)
		j := secretly(step.actor)
		j.Place.Root = root
		if i > 0 {
			j.Place.Status = session.PlaceConnected
		}
		out := h.Perform(t.Context(), j)
		got := said(t, out)
		if strings.Contains(got, "environment.snapshot {") {
			root = rootOf(t, out)
		}
		if opened := len(ways) > before; opened != step.opens || i > 0 && strings.Contains(got, `"reset":1`) != step.opens {
			t.Errorf("step %d, %q: opened anew: %v, want %v; written:\n%s", i, step.actor, opened, step.opens, got)
		}
		if _, err := ways[len(ways)-1].secrets.Now(t.Context()); err != nil || asked != step.actor {
			t.Errorf("step %d: asked for %q, want %q (%v)", i, asked, step.actor, err)
		}
		if id := ways[len(ways)-1].secrets.Given[0].ID; id != of[step.actor] {
			t.Errorf("step %d, %q: the programs have %s", i, step.actor, id)
		}
	}
}

// Secrets that cannot be had fail the call, before anything is made of it.
func TestSecretsThatCannotBeHad(t *testing.T) {
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) {
		t.Error("the call was made")
		return tool.Text("done"), nil
	})
	h.Environments.Secrets = func(context.Context, tool.Caller) ([]environment.Secret, error) {
		return nil, errors.New("no vault found with id 'vault'")
	}
	got := said(t, h.Perform(t.Context(), secretly("")))
	if !strings.Contains(got, "effect.failed {") || !strings.Contains(got, "open the secrets of the session's vaults: no vault found with id 'vault'") || !strings.Contains(got, `"retry_at"`) {
		t.Errorf("written:\n%s", got)
	}
	setUp := secretly("")
	setUp.What, setUp.Attempt = event.EffectEnvironment, 10
	if got := said(t, h.Perform(t.Context(), setUp)); !strings.Contains(got, `"sandbox_error"`) || !strings.Contains(got, "no vault found") {
		t.Errorf("written:\n%s", got)
	}
}

// Without a network nothing is asked for.
func TestNoSecretsWithoutANetwork(t *testing.T) {
	h := newHousehold(t, func(context.Context, string) (tool.Result, error) { return tool.Text("done"), nil })
	h.Environments.Secrets = func(context.Context, tool.Caller) ([]environment.Secret, error) {
		t.Error("secrets were asked for")
		return nil, nil
	}
	j := secretly("")
	j.Environment.Network = nil
	if got := said(t, h.Perform(t.Context(), j)); !strings.Contains(got, "effect.finished {") {
		t.Errorf("written:\n%s", got)
	}
}
