// Package keys is the wire protocol of API keys. It renders what identity says and
// decides nothing but who may make which key.
package keys

import (
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/store"
)

// Config is what the protocol needs.
type Config struct {
	Keys *identity.Keys
}

type api struct{ Config }

const (
	basePath = "/v1/keys"
	onePath  = basePath + "/{key_id}"
)

// Mount registers the protocol's operations.
func Mount(s *httpapi.Server, cfg Config) {
	a := &api{cfg}
	for _, op := range []httpapi.Operation{
		{Method: http.MethodPost, Path: basePath, ID: "createKey", Summary: "Make an API key, whose text is told once", Body: createBody{}, Result: madeObject{}, Do: a.create},
		{Method: http.MethodGet, Path: basePath, ID: "listKeys", Summary: "List API keys", Query: httpapi.PageParams(), Result: httpapi.List[keyObject]{}, Do: a.list},
		{Method: http.MethodGet, Path: onePath, ID: "getKey", Summary: "Get an API key", Result: keyObject{}, Do: a.get},
		{Method: http.MethodPost, Path: onePath + "/rotate", ID: "rotateKey", Summary: "Give an API key another secret", Body: rotateBody{}, Result: madeObject{}, Do: a.rotate},
		{Method: http.MethodDelete, Path: onePath, ID: "revokeKey", Summary: "Revoke an API key for good", Result: keyObject{}, Do: a.revoke},
	} {
		op.Scope = identity.Admin
		s.Register(op)
	}
}

type createBody struct {
	Name      string `json:"name" doc:"What it is for."`
	Scope     string `json:"scope,omitzero" enum:"read,write,admin,owner" doc:"What it is to be for, each including those before it: to look, to change, to manage the project's keys, to make keys of any project. Defaults to write."`
	ExpiresAt int64  `json:"expires_at,omitzero" minimum:"1" doc:"Unix seconds. Defaults to never."`
	Project   string `json:"project,omitzero" doc:"Another project than the caller's; for owners."`
}

type rotateBody struct {
	OverlapSeconds int64 `json:"overlap_seconds,omitzero" minimum:"0" maximum:"2592000" doc:"How long the text before is still taken. Defaults to not at all."`
}

// keyObject is a key on the wire, and madeObject one whose text is told.
type keyObject struct {
	ID        string `json:"id"`
	Object    string `json:"object" enum:"api_key"`
	Name      string `json:"name"`
	Project   string `json:"project"`
	Scope     string `json:"scope" enum:"read,write,admin,owner"`
	Hint      string `json:"hint" doc:"How its text ends."`
	CreatedAt int64  `json:"created_at"`
	ExpiresAt *int64 `json:"expires_at"`
	RevokedAt *int64 `json:"revoked_at"`
}

type madeObject struct {
	keyObject
	Key string `json:"key" doc:"Its text. It is not told again."`
}

func render(k *identity.Key) keyObject {
	return keyObject{
		ID: k.ID, Object: "api_key", Name: k.Name, Project: k.Project, Scope: string(k.Scope), Hint: k.Hint,
		CreatedAt: k.CreatedAt.Unix(), ExpiresAt: unix(k.ExpiresAt), RevokedAt: unix(k.RevokedAt),
	}
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

// maxName is the longest name of a key, in characters.
const maxName = 128

func (a *api) create(c *httpapi.Call) (any, error) {
	var body createBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	n := identity.NewKey{Project: c.Project, Name: body.Name, Scope: identity.Scope(body.Scope)}
	if n.Scope == "" {
		n.Scope = identity.Write
	}
	if body.ExpiresAt != 0 {
		n.ExpiresAt = time.Unix(body.ExpiresAt, 0).UTC()
	}
	if body.Project != "" {
		n.Project = body.Project
	}
	switch length := utf8.RuneCountInString(n.Name); {
	case length == 0 || length > maxName:
		return nil, httpapi.Invalid("name", fmt.Sprintf("A key has a name of 1 to %d characters.", maxName))
	case !httpapi.ValidName(n.Project):
		return nil, httpapi.Invalid("project", "A project is named by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.")
	case !c.Principal.Scope.Includes(n.Scope), n.Project != c.Project && c.Principal.Scope != identity.Owner:
		return nil, &httpapi.Error{
			Status: http.StatusForbidden, Code: "insufficient_scope",
			Message: fmt.Sprintf("A key with the scope '%s' makes keys of its own project that are for no more than itself.", c.Principal.Scope),
		}
	case outlives(n.ExpiresAt, c):
		return nil, httpapi.Invalid("expires_at", "A key that expires makes none that outlives it. It expires at "+c.Principal.Until.Format(time.RFC3339)+": give expires_at up to that.")
	case !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(a.Keys.Now()):
		return nil, httpapi.Invalid("expires_at", "The key would have expired already.")
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	id := ""
	if in.Key != "" {
		id = event.DeriveID("key", c.Project, n.Project, in.Key)
	}
	made, text, err := a.Keys.Create(c.Context(), id, n)
	if errors.Is(err, store.ErrConflict) {
		return nil, &httpapi.Error{
			Status: http.StatusConflict, Code: "key_made_before", Param: "Idempotency-Key",
			Message: fmt.Sprintf("The key '%s' was made by an earlier request with this Idempotency-Key. Its text is not told again; rotate it for a new one.", id),
		}
	}
	if err != nil {
		return nil, err
	}
	return madeObject{render(&made), text}, nil
}

func (a *api) list(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	found, err := a.Keys.List(c.Context(), store.ObjectQuery{Project: c.Project, After: p.After, Asc: p.Asc, Limit: p.Limit + 1})
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.Invalid("after", "No API key found with id '"+p.After+"'.")
	}
	if err != nil {
		return nil, err
	}
	out := make([]keyObject, len(found))
	for i := range found {
		out[i] = render(&found[i])
	}
	return httpapi.PageOf(out, p.Limit, func(o *keyObject) string { return o.ID }), nil
}

func (a *api) get(c *httpapi.Call) (any, error) {
	k, err := a.Keys.Get(c.Context(), c.Project, c.Path("key_id"))
	return answer(c, &k, err)
}

// answer is the key, or what the error means.
func answer(c *httpapi.Call, k *identity.Key, err error) (any, error) {
	var revoked *identity.RevokedError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, httpapi.NotFound("API key", c.Path("key_id"))
	case errors.As(err, &revoked):
		return nil, &httpapi.Error{Status: http.StatusConflict, Code: "key_revoked", Message: revoked.Error()}
	case err != nil:
		return nil, err
	}
	return render(k), nil
}

func (a *api) rotate(c *httpapi.Call) (any, error) {
	var body rotateBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if err := a.outranked(c); err != nil {
		return nil, err
	}
	k, text, err := a.Keys.Rotate(c.Context(), c.Project, c.Path("key_id"), time.Duration(body.OverlapSeconds)*time.Second)
	if err != nil {
		return answer(c, &k, err)
	}
	return madeObject{render(&k), text}, nil
}

func (a *api) revoke(c *httpapi.Call) (any, error) {
	if err := a.outranked(c); err != nil {
		return nil, err
	}
	k, err := a.Keys.Revoke(c.Context(), c.Project, c.Path("key_id"))
	return answer(c, &k, err)
}

// outlives reports whether a key that ends at a time, or never where that is zero,
// is there when the caller's is not any more.
func outlives(ends time.Time, c *httpapi.Call) bool {
	until := c.Principal.Until
	return !until.IsZero() && (ends.IsZero() || ends.After(until))
}

// outranked refuses to change a key that is for more than the caller's, whose new
// text would be told to somebody who may not have it.
func (a *api) outranked(c *httpapi.Call) error {
	k, err := a.Keys.Get(c.Context(), c.Project, c.Path("key_id"))
	if err != nil {
		_, err = answer(c, &k, err)
		return err
	}
	if outlives(k.ExpiresAt, c) {
		return &httpapi.Error{
			Status: http.StatusForbidden, Code: "insufficient_scope",
			Message: "The caller's key expires before this one, and does not change it.",
		}
	}
	if c.Principal.Scope.Includes(k.Scope) {
		return nil
	}
	return &httpapi.Error{
		Status: http.StatusForbidden, Code: "insufficient_scope",
		Message: fmt.Sprintf("The key has the scope '%s', and a caller with the scope '%s' does not change it.", k.Scope, c.Principal.Scope),
	}
}
