package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/client"
)

func newIdentity() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity",
		Short: "Agents as workloads: who their tokens are of, and the keys that sign them",
		Long: `The server signs short-lived tokens that say which agent calls, in which session and
for whom. Others verify them by the keys that it publishes under its public URL
(/.well-known/openid-configuration and /.well-known/jwks.json).`,
	}
	cmd.AddCommand(newIdentityShow(), newIdentityRotate(), newIdentityToken())
	return cmd
}

func newIdentityShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the issuer, the trust domain, and the keys with their states",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				i, err := rt.Identity(ctx)
				if err != nil {
					return err
				}
				return showIdentity(cmd.OutOrStdout(), asJSON, i)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func showIdentity(out io.Writer, asJSON bool, i *client.Identity) error {
	if asJSON {
		_, err := fmt.Fprintln(out, i.RawJSON())
		return err
	}
	if _, err := fmt.Fprintf(out, "issuer        %s\ntrust domain  %s\nkeys at       %s\n\n", i.Issuer, i.TrustDomain, i.KeySet); err != nil {
		return err
	}
	t := newTable(out, false, "KEY", "ALGORITHM", "STATE", "CREATED")
	for _, k := range i.Keys {
		id := k.ID
		if k.Remote != nil {
			id += " (" + *k.Remote + ")"
		}
		t.row("", id, k.Algorithm, stateOfSigningKey(&k), since(k.CreatedAt))
	}
	return t.flush()
}

func stateOfSigningKey(k *client.SigningKey) string {
	at := func(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05") }
	switch {
	case k.State == "published":
		return "published, signs from " + at(k.SignsFrom)
	case k.SignsUntil != nil:
		return k.State + ", until " + at(*k.SignsUntil)
	}
	return k.State
}

func newIdentityRotate() *cobra.Command {
	var now, asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Sign by another key, while the server serves",
		Long: `Make another key. It is published first and signs six minutes later, when whoever
verifies tokens has read it; the one before stays published until the last token that
it signed has ended. This happens by itself after 90 days.

With --now the new key signs at once, and all others are revoked: tokens that they
signed are not taken any more, by others when they read the keys again, within five
minutes. This is for a key that somebody else may have.

A key in AWS KMS is made there: have the alias lead to another one, or change
--signing-key and start the server again, and then rotate. This needs the scope owner.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				i, err := rt.RotateIdentity(ctx, now)
				if err != nil {
					return err
				}
				return showIdentity(cmd.OutOrStdout(), asJSON, i)
			})
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "sign by it at once and revoke all others")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the issuer as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func newIdentityToken() *cobra.Command {
	var n client.NewToken
	var session string
	var decode bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a token that says what those of a session say",
		Long: `Print a token as the server signs it for an agent in a session: to see what it says,
and to try what takes it. With --exchange-for it is one that POST /oauth/token
exchanges for tokens for these audiences. This needs the scope admin.`,
		Example: `  stayd identity token --session SESSION --audience https://mcp.example.com/mcp --decode`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if session == "" || (n.Audience == "") == (len(n.Audiences) == 0) {
				return usage("give --session, and either --audience or --exchange-for")
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				token, err := rt.SessionToken(ctx, session, n)
				if err != nil {
					return err
				}
				if decode {
					if token, err = claimsOf(token); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
				return err
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&session, "session", "", "id of the session")
	fs.StringVar(&n.Audience, "audience", "", "whom the token is for")
	fs.StringSliceVar(&n.Audiences, "exchange-for", nil, "whom the tokens may be for that it is exchanged for")
	fs.StringSliceVar(&n.Scope, "scope", nil, "what it is good for")
	fs.BoolVar(&decode, "decode", false, "print what it says instead, as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// claimsOf is what a token says.
func claimsOf(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the server answered with what is no token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("decode the token: %w", err)
	}
	return string(b), nil
}
