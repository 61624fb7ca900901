package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// sealedClients is the name under which registered clients are sealed.
const sealedClients = "oauth clients"

// registered is a client that the runtime registered with an authorization
// server (RFC 7591), for one project.
type registered struct {
	ID        string    `json:"id"`
	Secret    string    `json:"secret,omitempty"`
	Auth      string    `json:"auth"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // of the secret
	// documented is set where the client is a document, which nobody registered.
	documented bool
}

// savedClient is what the store has of one.
type savedClient struct {
	Issuer string `json:"issuer"`
	Sealed []byte `json:"sealed"`
}

// clientID is the id of the object of a registered client.
func (s *Source) clientKey(project, issuer string) string {
	return event.DeriveID("client", project, issuer, s.redirectURI())
}

// ownClient returns the project's client with an authorization server: one that was
// registered before, or a document that the server reads, or one that is registered
// now.
func (s *Source) ownClient(ctx context.Context, project string, d *discovered) (*registered, error) {
	id := s.clientKey(project, d.Issuer)
	row, err := s.cfg.Store.Object(ctx, project, store.KindOAuthClient, id)
	if err == nil {
		c, err := s.openClient(ctx, &row)
		if err != nil || c.ExpiresAt.IsZero() || s.cfg.Now().Before(c.ExpiresAt) {
			return c, err
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read the client of %s: %w", d.Issuer, err)
	}
	if c, err := s.documented(ctx, project, d); c != nil || err != nil {
		return c, err
	}
	made, err := s.register(ctx, d)
	if err != nil {
		return nil, err
	}
	data, err := s.sealClient(ctx, project, id, d.Issuer, made)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now().UTC()
	if row.Version > 0 {
		row.Version, row.UpdatedAt, row.Data = row.Version+1, now, data
		err = s.cfg.Store.UpdateObject(ctx, row)
	} else {
		err = s.cfg.Store.CreateObject(ctx, store.Object{Project: project, Kind: store.KindOAuthClient, ID: id, Version: 1, CreatedAt: now, UpdatedAt: now, Data: data})
	}
	if errors.Is(err, store.ErrConflict) { // another process was first: theirs is as good
		if row, err = s.cfg.Store.Object(ctx, project, store.KindOAuthClient, id); err == nil {
			return s.openClient(ctx, &row)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store the client of %s: %w", d.Issuer, err)
	}
	return made, nil
}

func (s *Source) sealClient(ctx context.Context, project, id, issuer string, c *registered) ([]byte, error) {
	plain, err := json.Marshal(c) //nolint:gosec // it is encrypted in the next step
	if err != nil {
		return nil, fmt.Errorf("encode the client of %s: %w", issuer, err)
	}
	sealed, err := s.cfg.Vaults.SealOwn(ctx, sealedClients, plain, project, id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(savedClient{Issuer: issuer, Sealed: sealed})
}

func (s *Source) openClient(ctx context.Context, row *store.Object) (*registered, error) {
	var saved savedClient
	if err := json.Unmarshal(row.Data, &saved); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w: %w", row.Kind, row.ID, err, store.ErrCorrupt)
	}
	plain, err := s.cfg.Vaults.OpenOwn(ctx, sealedClients, saved.Sealed, row.Project, row.ID)
	if err != nil {
		return nil, err
	}
	c := &registered{}
	if err := json.Unmarshal(plain, c); err != nil {
		return nil, fmt.Errorf("decode the client %s: %w", row.ID, store.ErrCorrupt)
	}
	return c, nil
}

// forgetClient has the next consent register another client: the server does not
// know this one any more.
func (s *Source) forgetClient(ctx context.Context, project, issuer string) {
	err := s.cfg.Store.DeleteObject(ctx, project, store.KindOAuthClient, s.clientKey(project, issuer))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.cfg.Log.Warn("a client that its server does not know any more could not be forgotten", "issuer", issuer, "error", err)
	}
}

// clientName is what people read of who asks.
const clientName = "Stayd"

// grants are those by which clients of the runtime's own get tokens.
func grants() []string { return []string{"authorization_code", "refresh_token"} }

// register asks an authorization server for a client (RFC 7591 section 3).
func (s *Source) register(ctx context.Context, d *discovered) (*registered, error) {
	if d.Registration == "" {
		return nil, fmt.Errorf("%s does not register clients by itself: register one there with the redirect URI %s, and put it as a credential of the type oauth_client with the grant authorization_code into a vault of the session", d.Issuer, s.redirectURI())
	}
	auth := vault.ClientNone
	if len(d.ClientAuth) > 0 && !slices.Contains(d.ClientAuth, auth) {
		auth = vault.ClientBasic
		if !slices.Contains(d.ClientAuth, auth) {
			auth = vault.ClientPost
		}
	}
	asked, err := json.Marshal(map[string]any{
		"client_name": clientName, "redirect_uris": []string{s.redirectURI()}, "response_types": []string{"code"},
		"grant_types": grants(), "token_endpoint_auth_method": auth,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the registration: %w", err)
	}
	data, err := s.post(ctx, d.Registration, "application/json", asked)
	if err != nil {
		return nil, err
	}
	var got struct {
		ID        string  `json:"client_id"`
		Secret    string  `json:"client_secret"`
		Auth      string  `json:"token_endpoint_auth_method"`
		ExpiresAt float64 `json:"client_secret_expires_at"`
	}
	if err := json.Unmarshal(data, &got); err != nil || got.ID == "" || len(got.ID) > maxScope || len(got.Secret) > maxDocument {
		return nil, fmt.Errorf("%s registered no client that can be used", bare(d.Registration))
	}
	c := &registered{ID: got.ID, Secret: got.Secret, Auth: got.Auth}
	switch c.Auth {
	case vault.ClientNone, vault.ClientBasic, vault.ClientPost:
	case "":
		c.Auth = auth
	default:
		return nil, fmt.Errorf("%s registered a client that shows who it is by %q, which is not known here", bare(d.Registration), clean(c.Auth, maxCode))
	}
	if c.Secret == "" {
		c.Auth = vault.ClientNone
	}
	if got.ExpiresAt > 0 && got.ExpiresAt < 1<<40 {
		c.ExpiresAt = time.Unix(int64(got.ExpiresAt), 0).UTC()
	}
	return c, nil
}

// post sends a body and returns what was answered with success.
func (s *Source) post(ctx context.Context, where, media string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s is no URL that can be asked", clean(where, maxDescription))
	}
	req.Header.Set("Content-Type", media)
	req.Header.Set("Accept", "application/json")
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return nil, unreached(ctx, where, err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is lost by it
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err != nil {
		return nil, unreached(ctx, where, err)
	}
	if resp.StatusCode/100 == 2 {
		return data, nil
	}
	var no struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(data, &no) != nil || no.Code == "" {
		return nil, &answerError{where: bare(where), code: fmt.Sprintf("with status %d", resp.StatusCode)}
	}
	return nil, &answerError{where: bare(where), code: clean(no.Code, maxCode), description: clean(no.Description, maxDescription)}
}
