package agents

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/store"
)

// tokenObject is what a machine needs to connect with its environment.
type tokenObject struct {
	EnvironmentID string `json:"environment_id"`
	Object        string `json:"object" enum:"agent.environment.token"`
	RemoteURL     string `json:"remote_url"`
	Token         string `json:"token,omitempty" doc:"Said once: a repeated request with the same Idempotency-Key is answered without it."`
}

// newToken makes the secret with which a self-hosted environment connects, and
// what the log keeps of it.
func newToken() (string, event.Hash) {
	var b [32]byte
	rand.Read(b[:])
	token := "envtok_" + hex.EncodeToString(b[:])
	return token, sha256.Sum256([]byte(token))
}

// connectURL is where the machine of an environment connects.
func connectURL(base, environment string) string {
	return base + environmentsPath + "/" + environment + "/connect"
}

func (a *api) renewToken(c *httpapi.Call) (any, error) {
	if err := c.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	id := c.Path("environment_id")
	r, err := a.room(c, id, "")
	if err != nil {
		return nil, err
	}
	if r.env.Type != event.EnvironmentSelfHosted {
		return nil, &httpapi.Error{
			Status: http.StatusConflict, Code: codeNotSelfHosted,
			Message: "The environment '" + id + "' is run by this server, and has no token. Only self-hosted environments have one.",
		}
	}
	made := tokenObject{EnvironmentID: id, Object: "agent.environment.token", RemoteURL: connectURL(c.Base(), id)}
	err = a.Journal.Update(c.Context(), c.Project, r.session, func(tx *journal.Tx) error {
		repeated, err := tx.State.Repeated(in)
		if repeated || err != nil {
			return err
		}
		p := &event.TokenRenewed{Input: in}
		made.Token, p.TokenHash = newToken()
		return tx.Append(p)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.NotFound("environment", id)
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

const codeNotSelfHosted = "environment_not_self_hosted"
