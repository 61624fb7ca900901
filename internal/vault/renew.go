package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// claim is the right to renew the tokens of a credential, which one process has at
// a time. It ends by itself, so that a process that dies keeps nobody waiting.
type claim struct {
	Owner string    `json:"owner"`
	Until time.Time `json:"until"`
}

// Claim takes, for at most the duration, the right to renew the tokens of a
// credential, which it returns as it is then. held is set where the owner has the
// right now, and is not where another has it.
func (v *Vaults) Claim(ctx context.Context, project, vault, id, owner string, most time.Duration) (o *Opened, held bool, err error) {
	err = v.change(ctx, project, vault, id, func(c *savedCredential, _ *sealed) outcome {
		now := v.time()
		if held = c.Claim == nil || c.Claim.Owner == owner || !now.Before(c.Claim.Until); !held {
			return leave
		}
		c.Claim = &claim{Owner: owner, Until: now.Add(most)}
		return noted
	}, &o)
	return o, held, err
}

// Release gives up the right that Claim gave.
func (v *Vaults) Release(ctx context.Context, project, vault, id, owner string) error {
	return v.change(ctx, project, vault, id, func(c *savedCredential, _ *sealed) outcome {
		if c.Claim == nil || c.Claim.Owner != owner {
			return leave
		}
		c.Claim = nil
		return noted
	}, nil)
}

// Renewal is what a token endpoint gave for a refresh token.
type Renewal struct {
	From         Secret // the refresh token that it was given for
	Token        Secret
	RefreshToken Secret // empty is the same as before
	ExpiresAt    time.Time
}

// Renew stores new tokens and gives up the owner's right to it. Where the refresh
// token is not the one any more that they were given for, somebody has replaced
// it, and what they put there stays. It returns the credential as it is then.
func (v *Vaults) Renew(ctx context.Context, project, vault, id, owner string, r Renewal) (*Opened, error) {
	if err := checkSecret("access_token", r.Token); err != nil {
		return nil, err
	}
	if r.RefreshToken.text != "" {
		if err := checkSecret("refresh_token", r.RefreshToken); err != nil {
			return nil, err
		}
	}
	var o *Opened
	err := v.change(ctx, project, vault, id, func(c *savedCredential, s *sealed) outcome {
		ended := leave
		if c.Claim != nil && c.Claim.Owner == owner {
			c.Claim, ended = nil, noted
		}
		if s.RefreshToken != r.From.text {
			return ended
		}
		s.Token, c.Auth.ExpiresAt = r.Token.text, timeText(r.ExpiresAt)
		if r.RefreshToken.text != "" {
			s.RefreshToken = r.RefreshToken.text
		}
		return changed
	}, &o)
	return o, err
}

// timeText is a time as a credential has it; nil is none.
func timeText(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339)
	return &s
}

// outcome is what is to be done with what was looked at.
type outcome int

const (
	leave   outcome = iota // it is as it was
	noted                  // only who may renew it is another
	changed                // it is another
)

// change has fn change a credential and its secrets until no other was first. What
// the credential then is goes to out.
func (v *Vaults) change(ctx context.Context, project, vault, id string, fn func(*savedCredential, *sealed) outcome, out **Opened) error {
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return err
	}
	err := again(func() error {
		row, saved, err := v.credential(ctx, project, vault, id)
		if err != nil {
			return err
		}
		key, err := v.dataKey(ctx, project, vault, false)
		if err != nil {
			return err
		}
		secrets, err := saved.open(key, project, vault, id)
		if err != nil {
			return err
		}
		switch fn(saved, secrets) {
		case changed:
			if err := saved.seal(key, project, vault, id, secrets); err != nil {
				return err
			}
			err = v.replace(ctx, row, saved)
		case noted:
			err = v.keep(ctx, row, saved)
		case leave:
		}
		if err != nil {
			return err
		}
		if out != nil {
			*out = &Opened{Credential: credentialOf(row, vault, saved), Secrets: secrets.secrets()}
		}
		return nil
	})
	if err != nil {
		return missing(err, "credential", id, "change")
	}
	return nil
}

// ConsentedID is the id of the credential that PutConsented stores for an actor and
// a server.
func ConsentedID(project, vault, actor, server string) string {
	return event.DeriveID("cred", "consent", project, vault, actor, sameServer(server))
}

// PutConsented stores what the runtime got by a person's consent, in place of what
// it got by the same actor's consent for the same server before. What clients put
// there beside the secrets stays.
func (v *Vaults) PutConsented(ctx context.Context, project, vault string, n NewCredential) (Credential, error) {
	if err := n.check(); err != nil {
		return Credential{}, err
	}
	key, err := v.dataKey(ctx, project, vault, true)
	if err != nil {
		return Credential{}, err
	}
	id := ConsentedID(project, vault, n.Auth.Actor, n.Auth.ServerURL)
	saved := &savedCredential{Name: n.Name, Metadata: n.Metadata, Auth: n.Auth}
	secrets := &sealed{Token: n.Secrets.Token.text, RefreshToken: n.Secrets.RefreshToken.text, ClientSecret: n.Secrets.ClientSecret.text}
	var row *store.Object
	err = again(func() error {
		if _, _, err := v.vault(ctx, project, vault); err != nil {
			return err
		}
		var before *savedCredential
		var gone *NotFoundError
		row, before, err = v.credential(ctx, project, vault, id)
		isNew := errors.As(err, &gone)
		if err != nil && !isNew {
			return err
		}
		if !isNew {
			saved.Metadata, secrets.Updated = before.Metadata, nil
			// Where the secrets cannot be read any more, the new ones repair that.
			if old, err := before.open(key, project, vault, id); err == nil {
				secrets.Updated = old.Updated
			}
		}
		if err := saved.seal(key, project, vault, id, secrets); err != nil {
			return err
		}
		if isNew {
			row, err = v.insert(ctx, project, credentialKind(vault), id, saved)
			return err
		}
		return v.replace(ctx, row, saved)
	})
	if err != nil {
		return Credential{}, fmt.Errorf("store the credential that was consented to in vault %s: %w", vault, err)
	}
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return Credential{}, v.afterDeletion(ctx, project, vault, err)
	}
	return credentialOf(row, vault, saved), nil
}

// Consented lists the credentials of a vault that people consented to, so that
// they can be taken back.
func (v *Vaults) Consented(ctx context.Context, project, vault string) ([]Opened, error) {
	var found []attached
	err := v.attached(ctx, project, []string{vault}, func(a attached) {
		if a.saved.Auth.Consent != nil {
			found = append(found, a)
		}
	})
	if err != nil {
		return nil, err
	}
	return v.openAll(ctx, project, slices.Clip(found))
}
