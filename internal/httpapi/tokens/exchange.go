package tokens

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/workload"
)

const (
	mediaForm = "application/x-www-form-urlencoded"
	// maxForm is the longest form in bytes.
	maxForm = 64 << 10

	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	typeID        = "urn:ietf:params:oauth:token-type:id_token"
)

// exchangeForm is the form in the document. It is read as a form.
type exchangeForm struct {
	GrantType        string   `json:"grant_type" enum:"urn:ietf:params:oauth:grant-type:token-exchange"`
	SubjectToken     string   `json:"subject_token" doc:"A token of this issuer that is for the issuer itself, an API key, or a token of an issuer that the server takes."`
	SubjectTokenType string   `json:"subject_token_type"`
	ActorToken       string   `json:"actor_token,omitzero" doc:"A token of this issuer, for the issuer itself, of the agent that acts from now on."`
	ActorTokenType   string   `json:"actor_token_type,omitzero"`
	RequestedType    string   `json:"requested_token_type,omitzero"`
	Audience         string   `json:"audience,omitzero" doc:"Whom the new token is for; the issuer for one that can be exchanged again. Either this or 'resource'."`
	Resource         string   `json:"resource,omitzero" doc:"As 'audience'."`
	Scope            string   `json:"scope,omitzero" doc:"Separated by spaces, none that the subject_token does not have. Without it the new token has what that has."`
	Audiences        []string `json:"audiences,omitzero" doc:"Separated by spaces: whom the tokens may be for that a token for the issuer can be exchanged for. Without it those of the subject_token."`
}

// exchanged is the answer (RFC 8693, section 2.2.1).
type exchanged struct {
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"`
	TokenType   string `json:"token_type" enum:"Bearer"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope,omitempty"`
}

// RefusedError is what a caller shows that is not taken.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// refusal is the answer to an exchange that is refused (RFC 6749, section 5.2).
type refusal struct {
	Code string `json:"error"`
	Why  string `json:"error_description"`
}

// noStore keeps answers with tokens out of caches.
const noStore = "no-store"

func (a *api) exchange(c *httpapi.Call) (any, error) {
	out, err := a.exchanged(c)
	var refused *workload.ExchangeError
	switch {
	case errors.As(err, &refused):
		data, err := httpapi.Marshal(refusal{Code: refused.Code, Why: ascii(refused.Why)})
		if err != nil {
			return nil, fmt.Errorf("encode a refusal: %w", err)
		}
		return raw(http.StatusBadRequest, noStore, data), nil
	case err != nil:
		return nil, answer(err)
	}
	data, err := httpapi.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode a token: %w", err)
	}
	return raw(http.StatusOK, noStore, data), nil
}

// ascii takes out what an error_description may not have.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, s)
}

func invalid(format string, args ...any) error {
	return &workload.ExchangeError{Code: workload.InvalidRequest, Why: fmt.Sprintf(format, args...)}
}

func (a *api) exchanged(c *httpapi.Call) (*exchanged, error) {
	f, err := readForm(c)
	if err != nil {
		return nil, err
	}
	w, issued, err := f.wanted()
	if err != nil {
		return nil, err
	}
	subject, err := a.subject(c.Context(), f)
	if err != nil {
		return nil, err
	}
	actor, err := a.actor(c.Context(), f)
	if err != nil {
		return nil, err
	}
	granted, err := a.Issuer.Exchange(c.Context(), subject, actor, w)
	if err != nil {
		return nil, err
	}
	return &exchanged{
		AccessToken: granted.Token, IssuedType: issued, TokenType: "Bearer", ExpiresIn: granted.Expires.Unix() - a.Now().Unix(), Scope: granted.Scope,
	}, nil
}

// form is what was asked for. Every parameter is there once, but for those that
// say what the token is for.
type form url.Values

func (f form) get(name string) string { return url.Values(f).Get(name) }

func readForm(c *httpapi.Call) (form, error) {
	if kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || kind != mediaForm {
		return nil, invalid("Send a form: Content-Type: %s.", mediaForm)
	}
	body, err := c.Bytes(maxForm)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(text))
	if err != nil {
		return nil, invalid("The form cannot be read.")
	}
	for name, v := range values {
		if len(v) > 1 && name != "audience" && name != "resource" {
			return nil, invalid("The parameter '%s' is given more than once.", name)
		}
	}
	f := form(values)
	switch grant := f.get("grant_type"); grant {
	case grantExchange:
		return f, nil
	case "":
		return nil, invalid("The parameter 'grant_type' is missing.")
	default:
		return nil, &workload.ExchangeError{Code: "unsupported_grant_type", Why: "The only grant_type here is " + grantExchange + "."}
	}
}

// wanted is the token that is asked for, and its type.
func (f form) wanted() (w workload.Wanted, issued string, err error) {
	targets := slices.Concat(f["audience"], f["resource"])
	slices.Sort(targets)
	switch targets = slices.Compact(targets); {
	case len(targets) == 0 || targets[0] == "":
		return w, "", invalid("Say by 'audience' or 'resource' whom the token is for.")
	case len(targets) > 1:
		return w, "", &workload.ExchangeError{Code: workload.InvalidTarget, Why: "A token is for one audience, and more are asked for."}
	}
	w.Audience = targets[0]
	if scope := f.get("scope"); scope != "" {
		w.Scope = strings.Fields(scope)
	}
	if audiences := f.get("audiences"); audiences != "" {
		w.Audiences = strings.Fields(audiences)
	}
	switch issued = f.get("requested_token_type"); issued {
	case "":
		issued = typeAccess
	case typeAccess, typeJWT:
	default:
		return w, "", invalid("A requested_token_type is %s or %s.", typeAccess, typeJWT)
	}
	return w, issued, nil
}

// shown is a token of the form, whose type has to be said.
func (f form) shown(name string, types ...string) (string, error) {
	token, kind := f.get(name), f.get(name+"_type")
	switch {
	case token == "":
		return "", invalid("The parameter '%s' is missing.", name)
	case !slices.Contains(types, kind):
		return "", invalid("The parameter '%s_type' is one of %s.", name, strings.Join(types, ", "))
	}
	return token, nil
}

func (a *api) subject(ctx context.Context, f form) (*workload.Claims, error) {
	shown, err := f.shown("subject_token", typeAccess, typeJWT, typeID)
	if err != nil {
		return nil, err
	}
	if a.Issuer.Own(shown) {
		return a.open(ctx, "subject_token", shown)
	}
	who, expires, err := a.Caller(ctx, shown)
	var refused *RefusedError
	switch {
	case errors.Is(err, identity.ErrRefused):
		return nil, invalid("The subject_token is neither an API key nor a token that is taken here.")
	case errors.As(err, &refused):
		return nil, invalid("The subject_token is not taken: %s", refused.Why)
	case err != nil:
		return nil, err
	}
	if !expires.IsZero() && !expires.After(a.Now()) {
		return nil, invalid("The subject_token has expired.")
	}
	return workload.Caller(who, expires, a.Audiences)
}

func (a *api) actor(ctx context.Context, f form) (*workload.Claims, error) {
	if f.get("actor_token") == "" {
		if f.get("actor_token_type") != "" {
			return nil, invalid("There is an 'actor_token_type' and no 'actor_token'.")
		}
		return nil, nil
	}
	shown, err := f.shown("actor_token", typeAccess, typeJWT)
	if err != nil {
		return nil, err
	}
	return a.open(ctx, "actor_token", shown)
}

func (a *api) open(ctx context.Context, name, shown string) (*workload.Claims, error) {
	claims, err := a.Issuer.Open(ctx, shown)
	var refused *workload.RefusedError
	if errors.As(err, &refused) {
		return nil, invalid("The %s is not taken: %s", name, refused.Why)
	}
	return claims, err
}
