package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/login"
	"github.com/stayd/stayd/internal/client"
)

func newLogin() *cobra.Command {
	var server, issuer string
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Get a token to show to a server, by its issuer",
		Long: `Get a token to show to a server, by the issuer that the server takes tokens of. It is
told where to go in a browser, on any machine, and which code to enter there. The token
is kept in the folder of your settings, for this server alone, and renewed before it
expires. Commands show it where STAYD_API_KEY is not set.`,
		Example: `  stayd login --url https://stayd.example.com
  stayd login --url https://stayd.example.com --issuer https://login.example.com`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := serverToLogIn(cmd, server)
			if err != nil {
				return err
			}
			return logIn(cmd, at, issuer)
		},
	}
	cmd.Flags().StringVar(&server, "url", "", "URL of the server; STAYD_SERVER is its default")
	cmd.Flags().StringVar(&issuer, "issuer", "", "the issuer, where the server takes tokens of several")
	return cmd
}

// serverToLogIn is the server that is named, or else runs on the data folder.
func serverToLogIn(cmd *cobra.Command, named string) (string, error) {
	if named == "" {
		named = os.Getenv("STAYD_SERVER")
	}
	if named == "" {
		cfg, err := loadConfig(cmd.Flags(), os.Getenv)
		if err != nil {
			return "", err
		}
		if named, err = serverOn(cmd.Context(), cfg.Data); err != nil {
			return "", err
		}
		if named == "" {
			return "", usage("name the server with --url or STAYD_SERVER")
		}
	}
	server, err := login.Normal(named)
	if err != nil {
		return "", &coded{code: exitUsage, err: err}
	}
	return server, nil
}

func logIn(cmd *cobra.Command, server, issuer string) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	logins, err := login.Default()
	if err != nil {
		return err
	}
	offer, err := offerOf(ctx, server, issuer)
	if err != nil {
		return err
	}
	flow, err := login.Begin(ctx, server, offer)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "To log in to %s, open\n\n  %s\n\nand enter the code %s\n", server, flow.Where, flow.Code) //nolint:errcheck // if it fails, nobody looks
	if flow.Direct != "" {
		fmt.Fprintf(out, "(or open %s, and compare the code)\n", flow.Direct) //nolint:errcheck // if it fails, nobody looks
	}
	found, err := flow.Wait(ctx)
	if err != nil {
		return err
	}
	in, who, err := firstTaken(ctx, server, found)
	if err != nil {
		return fmt.Errorf("the issuer let you in, but the server does not: %s", client.Message(err))
	}
	if err := logins.Put(in); err != nil {
		return err
	}
	hint := ""
	if os.Getenv("STAYD_API_KEY") != "" {
		hint = "STAYD_API_KEY is set, and commands show that instead\n"
	}
	_, err = fmt.Fprintf(out, "logged in to %s as %s\n%s", server, who, hint)
	return err
}

// offerOf asks the server how its users log in.
func offerOf(ctx context.Context, server, issuer string) (login.Offer, error) {
	var about struct {
		Resource string        `json:"resource"`
		Logins   []login.Offer `json:"stayd_login"`
	}
	u, err := url.Parse(server)
	if err != nil {
		return login.Offer{}, fmt.Errorf("read the server's URL: %w", err)
	}
	if u.Scheme == "http" && !login.Loopback(u.Hostname()) {
		return login.Offer{}, usage("%s is not reached by https, so that others on the way could read your token; put a proxy with TLS in front of it", server)
	}
	c, err := client.Dial(server, "")
	if err != nil {
		return login.Offer{}, &coded{code: exitUsage, err: err}
	}
	err = c.Do(ctx, http.MethodGet, "/.well-known/oauth-protected-resource", nil, &about)
	if client.Status(err) == http.StatusNotFound {
		return login.Offer{}, fmt.Errorf("%s takes no tokens of other issuers; use an API key (STAYD_API_KEY)", server)
	}
	if err != nil {
		return login.Offer{}, err
	}
	// A server that says it is another one could pass the token on to that.
	if is, err := login.Normal(about.Resource); err != nil || is != server {
		return login.Offer{}, fmt.Errorf("the server at %s says that it is %s; log in with that as --url, or have its operator set --public-url", server, login.Plain(about.Resource))
	}
	return choose(server, issuer, about.Logins)
}

func choose(server, issuer string, offers []login.Offer) (login.Offer, error) {
	if len(offers) == 0 {
		return login.Offer{}, fmt.Errorf("%s takes tokens, and none of its issuers has a client_id for `stayd login`; get a token otherwise, and set STAYD_API_KEY to it", server)
	}
	if issuer == "" && len(offers) == 1 {
		return offers[0], nil
	}
	names := make([]string, len(offers))
	for i, o := range offers {
		names[i] = login.Plain(o.Issuer)
	}
	if i := slices.IndexFunc(offers, func(o login.Offer) bool { return o.Issuer == issuer }); i >= 0 {
		return offers[i], nil
	}
	return login.Offer{}, usage("choose with --issuer whose token to get for %s: %s", server, strings.Join(names, ", "))
}

// firstTaken returns the first login that the server takes, and who that is.
func firstTaken(ctx context.Context, server string, found []login.Login) (*login.Login, string, error) {
	err := errors.New("it gave no token")
	for i := range found {
		var c *client.Client
		if c, err = client.Dial(server, found[i].Token); err != nil {
			return nil, "", err
		}
		var who principal
		if err = c.Do(ctx, http.MethodGet, whoamiPath, nil, &who); err == nil {
			return &found[i], who.String(), nil
		}
		if client.Status(err) != http.StatusUnauthorized {
			break
		}
	}
	return nil, "", err
}

func newLogout() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Give up the token that stayd login got",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := serverToLogIn(cmd, server)
			if err != nil {
				return err
			}
			logins, err := login.Default()
			if err != nil {
				return err
			}
			in, err := logins.Remove(at)
			if errors.Is(err, login.ErrNone) {
				return fmt.Errorf("you are not logged in to %s", at)
			}
			if err != nil {
				return err
			}
			if err := in.Revoke(cmd.Context()); err != nil {
				return fmt.Errorf("the token is removed here, and may still be good: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "logged out of %s\n", at)
			return err
		},
	}
	cmd.Flags().StringVar(&server, "url", "", "URL of the server; STAYD_SERVER is its default")
	return cmd
}

const whoamiPath = "/v1/whoami"

// principal is who calls, as the server has it.
type principal struct {
	ID      *string `json:"id"`
	Issuer  *string `json:"issuer"`
	Project string  `json:"project"`
	Scope   string  `json:"scope"`
	Actor   *string `json:"actor"`
}

func (p principal) String() string {
	text := "nobody in particular"
	if p.ID != nil {
		text = *p.ID
	}
	text += ", in the project " + p.Project + " with the scope " + p.Scope
	if p.Actor != nil {
		text += ", acting for " + *p.Actor
	}
	return login.Plain(text)
}

func newWhoami() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who you are to the server",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				var raw json.RawMessage
				if err := rt.Do(ctx, http.MethodGet, whoamiPath, nil, &raw); err != nil {
					return err
				}
				var who principal
				if err := json.Unmarshal(raw, &who); err != nil {
					return fmt.Errorf("read the answer: %w", err)
				}
				return said(cmd.OutOrStdout(), asJSON, string(raw), "%s\n", who)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// dial returns a client of the server: with the key, or else with the token of the
// user's login at it, or else with nothing.
func dial(ctx context.Context, server, key string) (*client.Client, error) {
	c, err := client.Dial(server, key)
	if err != nil {
		return nil, &coded{code: exitUsage, err: err}
	}
	logins, err := login.Default()
	if key != "" || err != nil {
		return c, nil //nolint:nilerr // a user without a folder of settings is not logged in
	}
	at, err := login.Normal(server)
	if err != nil {
		return nil, &coded{code: exitUsage, err: err}
	}
	source, err := logins.Source(at)
	if errors.Is(err, login.ErrNone) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := source.Bearer(ctx); err != nil {
		return nil, err
	}
	return client.DialAs(at, source.Bearer)
}
