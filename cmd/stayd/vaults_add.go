package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stayd/stayd/internal/client"
)

// newCredential is what the flags say of a credential.
type newCredential struct {
	name     string
	actor    string
	server   string // URL
	variable string
	hosts    []string
	metadata map[string]string
	client   client.OAuthClient // where it has an id
}

// ways are those in which clients show who they are, as they are called by
// --client-auth.
var ways = map[string]string{"basic": "client_secret_basic", "post": "client_secret_post", "key": "private_key_jwt", "none": "none"}

// auth is how the credential is used. The secret is still to come.
func (n *newCredential) auth(secret string) (any, error) {
	switch {
	case n.name == "":
		return nil, usage("name the credential with --name")
	case (n.server == "") == (n.variable == ""):
		return nil, usage("say what the credential is for: --mcp-server URL, or --variable NAME")
	case n.server != "" && len(n.hosts) > 0:
		return nil, usage("--host goes with --variable: a token for an MCP server is sent to that server alone")
	case n.client.ClientID != "":
		return n.oauthClient(secret)
	case n.client.TokenEndpoint != "" || n.client.AuthorizationEndpoint != "" || n.client.Scope != "" || n.client.Resource != "":
		return nil, usage("--token-endpoint, --authorization-endpoint, --scope and --resource go with --client-id")
	case n.server != "":
		return openai.CredentialAuthCreateParamOfParamStaticBearer(n.server, secret), nil
	case len(n.hosts) > 0:
		return openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.CredentialNetworkingParamLimited{AllowedHosts: n.hosts}, n.variable, secret), nil
	}
	return openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.NewCredentialNetworkingParamUnrestricted(), n.variable, secret), nil
}

func (n *newCredential) oauthClient(secret string) (any, error) {
	c := n.client
	way, known := ways[c.Client.Type]
	switch {
	case n.server == "":
		return nil, usage("--client-id goes with --mcp-server: it is a client that gets tokens for that server")
	case c.TokenEndpoint == "":
		return nil, usage("say where the client gets tokens: --token-endpoint URL")
	case !known:
		return nil, usage("--client-auth is basic, post, key or none")
	case c.Client.Audience != "" && c.Client.Type != "key":
		return nil, usage("--client-audience goes with --client-auth key: it is for whom the server signs")
	}
	c.Type, c.ServerURL, c.Client = "oauth_client", n.server, client.TokenEndpointAuth{Type: way, Secret: secret, Audience: c.Client.Audience}
	return c, nil
}

// needsSecret reports whether there is a secret to be read.
func (n *newCredential) needsSecret() bool {
	return n.client.ClientID == "" || (n.client.Client.Type != "none" && n.client.Client.Type != "key")
}

func newVaultsAdd() *cobra.Command {
	var n newCredential
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add VAULT",
		Short: "Put a credential into a vault; its secret is read from the standard input",
		Example: `  stayd vaults add VAULT --name mail --mcp-server https://mcp.example.com/mcp < token
  stayd vaults add VAULT --name mail --mcp-server https://mcp.example.com/mcp --actor ann < token
  stayd vaults add VAULT --name api --variable API_KEY --host api.example.com < key
  stayd vaults add VAULT --name crm --mcp-server https://mcp.example.com/mcp \\
    --client-id stayd --token-endpoint https://login.example.com/token --scope read < client-secret
  stayd vaults add VAULT --name crm --mcp-server https://mcp.example.com/mcp \\
    --client-id stayd --token-endpoint https://login.example.com/token --client-auth key`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if _, err := n.auth(""); err != nil {
				return err
			}
			var secret string
			if n.needsSecret() {
				var err error
				if secret, err = readSecret(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			auth, err := n.auth(secret)
			if err != nil {
				return err
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				c, err := rt.AddCredential(ctx, ids[0], client.NewCredential{Name: n.name, Auth: auth, Metadata: n.metadata, Actor: n.actor})
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), asJSON, c.RawJSON(), "%s for %s\n", c.ID, purpose(&c.Auth))
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&n.name, "name", "", "name of the credential")
	fs.StringVar(&n.actor, "actor", "", "whose the credential is: it is used for nobody else")
	fs.StringVar(&n.server, "mcp-server", "", "URL of the MCP server that the secret is a bearer token for")
	fs.StringVar(&n.variable, "variable", "", "variable of environments by which programs send the secret without seeing it")
	fs.StringSliceVar(&n.hosts, "host", nil, "hosts that the secret may be sent to; default: all that the environment names")
	fs.StringVar(&n.client.ClientID, "client-id", "", "id of an OAuth client, whose secret is read in place of a token")
	fs.StringVar(&n.client.Grant, "grant", "client_credentials", "how the client gets tokens: client_credentials, or authorization_code by people's consent")
	fs.StringVar(&n.client.TokenEndpoint, "token-endpoint", "", "URL where the client gets tokens")
	fs.StringVar(&n.client.AuthorizationEndpoint, "authorization-endpoint", "", "URL where people consent; default: what the server says")
	fs.StringVar(&n.client.Client.Type, "client-auth", "basic", "how the client shows who it is: basic, post, key for the server's own key, or none for one without a secret")
	fs.StringVar(&n.client.Client.Audience, "client-audience", "", "for whom the server signs with --client-auth key; default: the token endpoint")
	fs.StringVar(&n.client.Scope, "scope", "", "what the client asks for, with spaces between")
	fs.StringVar(&n.client.Resource, "resource", "", "URL of the resource that tokens are asked for (RFC 8707)")
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
	if !utf8.ValidString(s) { // it would be another when it arrives
		return "", usage("the secret on the standard input is not UTF-8; encode it, in base64 say, as who takes it expects")
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

// whose is the actor of a credential, which the SDK does not know.
func whose(c *openai.Credential) string {
	var actor string
	if json.Unmarshal([]byte(c.JSON.ExtraFields["actor"].Raw()), &actor) != nil {
		return "-"
	}
	return actor
}
