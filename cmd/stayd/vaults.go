package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newVaults() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vaults",
		Short: "Keep credentials, and the keys that they are encrypted with",
		Long: `Keep credentials for MCP servers and environments, and the keys that they are
encrypted with. A secret is read from the standard input, or asked for at the
terminal; it is never an argument, and never shown. docs/security.md says where the
master key is.`,
		Example: `  stayd vaults create --name team
  stayd vaults add VAULT --name mail --mcp-server https://mcp.example.com/mcp < token
  stayd vaults add VAULT --name api --variable API_KEY --host api.example.com < key
  stayd vaults rotate`,
		Args: args(cobra.NoArgs),
		RunE: help,
	}
	cmd.AddCommand(newVaultsCreate(), newVaultsList(), newVaultsDelete(), newVaultsAdd(), newVaultsCredentials(), newVaultsRemove(), newVaultsKey(), newVaultsRotate())
	return cmd
}

func newVaultsCreate() *cobra.Command {
	var name string
	var metadata map[string]string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a vault",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := openai.BetaAgentVaultNewParams{Metadata: metadata}
			if name != "" {
				p.Name = openai.String(name)
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				v, err := rt.SDK.Beta.Agents.Vaults.New(ctx, p)
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), asJSON, v.RawJSON(), "%s\n", v.ID)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the vault")
	cmd.Flags().StringToStringVar(&metadata, "metadata", nil, "pairs that stand beside it, as key=value")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the vault as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func newVaultsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List vaults",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				pages := rt.SDK.Beta.Agents.Vaults.ListAutoPaging(ctx, openai.BetaAgentVaultListParams{})
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "NAME", "CREATED")
				for pages.Next() {
					v := pages.Current()
					t.row(v.RawJSON(), v.ID, v.Name, since(v.CreatedAt))
				}
				return errors.Join(pages.Err(), t.flush())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	addRuntimeFlags(cmd)
	return cmd
}

func newVaultsDelete() *cobra.Command {
	return eachID("delete", "Delete vaults with all their credentials", "deleted", func(ctx context.Context, rt *runtime, id string) error {
		_, err := rt.SDK.Beta.Agents.Vaults.Delete(ctx, id)
		return err
	})
}

// newCredential is what the flags say of a credential.
type newCredential struct {
	name     string
	server   string // URL
	variable string
	hosts    []string
	metadata map[string]string
}

// auth is how the credential is used. The secret is still to come.
func (n *newCredential) auth(secret string) (openai.CredentialAuthCreateParamUnion, error) {
	var none openai.CredentialAuthCreateParamUnion
	switch {
	case n.name == "":
		return none, usage("name the credential with --name")
	case (n.server == "") == (n.variable == ""):
		return none, usage("say what the credential is for: --mcp-server URL, or --variable NAME")
	case n.server != "" && len(n.hosts) > 0:
		return none, usage("--host goes with --variable: a token for an MCP server is sent to that server alone")
	case n.server != "":
		return openai.CredentialAuthCreateParamOfParamStaticBearer(n.server, secret), nil
	case len(n.hosts) > 0:
		return openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.CredentialNetworkingParamLimited{AllowedHosts: n.hosts}, n.variable, secret), nil
	}
	return openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.NewCredentialNetworkingParamUnrestricted(), n.variable, secret), nil
}

func newVaultsAdd() *cobra.Command {
	var n newCredential
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add VAULT",
		Short: "Put a credential into a vault; its secret is read from the standard input",
		Example: `  stayd vaults add VAULT --name mail --mcp-server https://mcp.example.com/mcp < token
  stayd vaults add VAULT --name api --variable API_KEY --host api.example.com < key`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if _, err := n.auth(""); err != nil {
				return err
			}
			secret, err := readSecret(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			auth, err := n.auth(secret)
			if err != nil {
				return err
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				c, err := rt.SDK.Beta.Agents.Vaults.Credentials.New(ctx, ids[0], openai.BetaAgentVaultCredentialNewParams{Name: n.name, Auth: auth, Metadata: n.metadata})
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), asJSON, c.RawJSON(), "%s for %s\n", c.ID, purpose(&c.Auth))
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&n.name, "name", "", "name of the credential")
	fs.StringVar(&n.server, "mcp-server", "", "URL of the MCP server that the secret is a bearer token for")
	fs.StringVar(&n.variable, "variable", "", "variable of environments by which programs send the secret without seeing it")
	fs.StringSliceVar(&n.hosts, "host", nil, "hosts that the secret may be sent to; default: all that the environment names")
	fs.StringToStringVar(&n.metadata, "metadata", nil, "pairs that stand beside it, as key=value")
	fs.BoolVar(&asJSON, "json", false, "print the credential as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// maxSecret is more than a secret may have, in bytes.
const maxSecret = 1 << 20

// readSecret asks at the terminal, without showing what is typed, or reads all
// that comes in, without the newline at its end.
func readSecret(in io.Reader, out io.Writer) (string, error) {
	var b []byte
	var err error
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if _, err := fmt.Fprint(out, "Secret: "); err != nil {
			return "", err
		}
		b, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(out) //nolint:errcheck // an aside
	} else {
		b, err = io.ReadAll(io.LimitReader(in, maxSecret))
	}
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if s == "" {
		return "", usage("there is no secret on the standard input")
	}
	return s, nil
}

// purpose is what a credential is for, in a few words.
func purpose(a *openai.CredentialAuthUnion) string {
	if a.SecretName == "" {
		return a.McpServerURL
	}
	if len(a.Networking.AllowedHosts) == 0 {
		return a.SecretName + " to any host that an environment names"
	}
	return a.SecretName + " to " + strings.Join(a.Networking.AllowedHosts, ", ")
}

func newVaultsCredentials() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "credentials VAULT",
		Short: "List the credentials of a vault, without their secrets",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				pages := rt.SDK.Beta.Agents.Vaults.Credentials.ListAutoPaging(ctx, ids[0], openai.BetaAgentVaultCredentialListParams{})
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "NAME", "TYPE", "FOR", "CHANGED")
				for pages.Next() {
					c := pages.Current()
					t.row(c.RawJSON(), c.ID, c.Name, c.Auth.Type, purpose(&c.Auth), since(c.UpdatedAt))
				}
				return errors.Join(pages.Err(), t.flush())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	addRuntimeFlags(cmd)
	return cmd
}

func newVaultsRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove VAULT CREDENTIAL...",
		Short: "Delete credentials of a vault",
		Args:  args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				for _, id := range ids[1:] {
					if _, err := rt.SDK.Beta.Agents.Vaults.Credentials.Delete(ctx, ids[0], id); err != nil {
						return err
					}
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "deleted %s\n", id); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	addRuntimeFlags(cmd)
	return cmd
}
