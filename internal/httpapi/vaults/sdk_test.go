package vaults_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
)

func bearerAuth(url, token string) openai.CredentialAuthCreateParamUnion {
	return openai.CredentialAuthCreateParamOfParamStaticBearer(url, token)
}

// TestVaults drives vaults with the official SDK: they are made, listed, changed
// and deleted.
func TestVaults(t *testing.T) {
	w := newWorld(t)
	vaults := &w.sdk().Beta.Agents.Vaults
	ctx := t.Context()

	plain, err := vaults.New(ctx, openai.BetaAgentVaultNewParams{})
	if err != nil {
		t.Fatal(err)
	}
	if plain.JSON.Name.Raw() != "null" || plain.JSON.Metadata.Raw() != "{}" || plain.Object != "vault" || plain.CreatedAt == 0 {
		t.Errorf("a vault of nothing is %s", plain.RawJSON())
	}
	named, err := vaults.New(ctx, openai.BetaAgentVaultNewParams{Name: openai.String("  Team  "), Metadata: map[string]string{"team": "blue"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := vaults.Get(ctx, named.ID)
	if err != nil || got.Name != "Team" || got.Metadata["team"] != "blue" || got.RawJSON() != named.RawJSON() {
		t.Errorf("the vault is %s: %v", got.RawJSON(), err)
	}

	for what, c := range map[string]struct {
		query openai.BetaAgentVaultListParams
		want  []string
	}{
		"all":        {openai.BetaAgentVaultListParams{}, []string{named.ID, plain.ID}},
		"asc":        {openai.BetaAgentVaultListParams{Order: "asc"}, []string{plain.ID, named.ID}},
		"by pages":   {openai.BetaAgentVaultListParams{Limit: openai.Int(1)}, []string{named.ID, plain.ID}},
		"after":      {openai.BetaAgentVaultListParams{After: openai.String(named.ID)}, []string{plain.ID}},
		"blue":       {openai.BetaAgentVaultListParams{Metadata: map[string]string{"team": "blue"}}, []string{named.ID}},
		"blue pages": {openai.BetaAgentVaultListParams{Metadata: map[string]string{"team": "blue"}, Limit: openai.Int(1)}, []string{named.ID}},
		"red":        {openai.BetaAgentVaultListParams{Metadata: map[string]string{"team": "red"}}, nil},
		"active":     {openai.BetaAgentVaultListParams{Status: openai.VaultStatusFilterUnionParam{OfStatus: openai.Opt(openai.VaultStatusActive)}}, []string{named.ID, plain.ID}},
		"archived":   {openai.BetaAgentVaultListParams{Status: openai.VaultStatusFilterUnionParam{OfStatus: openai.Opt(openai.VaultStatusArchived)}}, nil},
		"array":      {openai.BetaAgentVaultListParams{Status: openai.VaultStatusFilterUnionParam{OfArrayOfStatuses: []openai.VaultStatus{"active"}}}, []string{named.ID, plain.ID}},
		"both":       {openai.BetaAgentVaultListParams{Status: openai.VaultStatusFilterUnionParam{OfArrayOfStatuses: []openai.VaultStatus{"active", "archived"}}}, []string{named.ID, plain.ID}},
	} {
		var ids []string
		pages := vaults.ListAutoPaging(ctx, c.query)
		for pages.Next() {
			ids = append(ids, pages.Current().ID)
		}
		if !slices.Equal(ids, c.want) || pages.Err() != nil {
			t.Errorf("%s: %v (%v), want %v", what, ids, pages.Err(), c.want)
		}
	}

	changed, err := vaults.Update(ctx, named.ID, openai.BetaAgentVaultUpdateParams{Name: openai.String("Other")})
	if err != nil || changed.Name != "Other" || changed.Metadata["team"] != "blue" {
		t.Errorf("renamed it is %s: %v", changed.RawJSON(), err)
	}
	changed, err = vaults.Update(ctx, named.ID, openai.BetaAgentVaultUpdateParams{Name: param.Null[string](), Metadata: map[string]string{}})
	if err != nil || changed.JSON.Name.Raw() != "null" || len(changed.Metadata) != 0 {
		t.Errorf("cleared it is %s: %v", changed.RawJSON(), err)
	}

	credential, err := vaults.Credentials.New(ctx, named.ID, openai.BetaAgentVaultCredentialNewParams{Name: "c", Auth: bearerAuth("https://mcp.example.com", "t")})
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := vaults.Delete(ctx, named.ID)
	if err != nil || !deleted.Deleted || deleted.ID != named.ID || deleted.Object != "vault.deleted" {
		t.Errorf("deleted: %v %v", deleted, err)
	}
	for what, err := range map[string]error{
		"get":    second(vaults.Get(ctx, named.ID)),
		"update": second(vaults.Update(ctx, named.ID, openai.BetaAgentVaultUpdateParams{})),
		"delete": second(vaults.Delete(ctx, named.ID)),
		"list":   second(vaults.Credentials.List(ctx, named.ID, openai.BetaAgentVaultCredentialListParams{})),
		"new":    second(vaults.Credentials.New(ctx, named.ID, openai.BetaAgentVaultCredentialNewParams{Name: "c", Auth: bearerAuth("https://mcp.example.com", "t")})),
		"one":    second(vaults.Credentials.Get(ctx, named.ID, credential.ID)),
	} {
		if !hasStatus(err, 404) {
			t.Errorf("%s after the vault was deleted: %v, want 404", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestCredentials drives credentials of every type with the official SDK.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vaults := &w.sdk().Beta.Agents.Vaults
	v, err := vaults.New(ctx, openai.BetaAgentVaultNewParams{})
	if err != nil {
		t.Fatal(err)
	}
	refresh := openai.CredentialAuthCreateParamMcpOAuthRefresh{
		ClientID: "client", RefreshToken: "refresh", TokenEndpoint: "https://login.example.com/token", Scope: openai.String("read"),
		TokenEndpointAuth: openai.McpOAuthTokenEndpointAuthCreateParamOfParamClientSecretPost("client secret"),
	}
	var made []string
	for _, c := range []struct {
		auth openai.CredentialAuthCreateParamUnion
		want string // of auth
	}{
		{bearerAuth("https://mcp.example.com/mcp", "token"), `{"type":"static_bearer","mcp_server_url":"https://mcp.example.com/mcp"}`},
		{openai.CredentialAuthCreateParamOfParamMcpOAuth("access", "https://mcp.example.com/mcp"), `{"type":"mcp_oauth","mcp_server_url":"https://mcp.example.com/mcp","expires_at":null,"refresh":null}`},
		{
			openai.CredentialAuthCreateParamUnion{OfParamMcpOAuth: &openai.CredentialAuthCreateParamMcpOAuth{
				AccessToken: "access", McpServerURL: "https://mcp.example.com/mcp", ExpiresAt: openai.String("2026-06-01T00:00:00Z"), Refresh: refresh,
			}},
			`{"type":"mcp_oauth","mcp_server_url":"https://mcp.example.com/mcp","expires_at":"2026-06-01T00:00:00Z","refresh":{"client_id":"client",` +
				`"token_endpoint":"https://login.example.com/token","token_endpoint_auth":{"type":"client_secret_post"},"resource":null,"scope":"read"}}`,
		},
		{
			openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.NewCredentialNetworkingParamUnrestricted(), "API_KEY", "value"),
			`{"type":"environment_variable","secret_name":"API_KEY","networking":{"type":"unrestricted"}}`,
		},
		{
			openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.CredentialNetworkingParamLimited{AllowedHosts: []string{"API.example.com"}}, "OTHER", "value"),
			`{"type":"environment_variable","secret_name":"OTHER","networking":{"type":"limited","allowed_hosts":["api.example.com"]}}`,
		},
	} {
		got, err := vaults.Credentials.New(ctx, v.ID, openai.BetaAgentVaultCredentialNewParams{Name: " name ", Auth: c.auth, Metadata: map[string]string{"n": "m"}})
		if err != nil {
			t.Fatalf("%s: %v", c.want, err)
		}
		if got.Auth.RawJSON() != c.want || got.Name != "name" || got.VaultID != v.ID || got.Object != "vault.credential" || got.Metadata["n"] != "m" || got.CreatedAt == 0 || got.UpdatedAt == 0 {
			t.Errorf("made %s, want the auth %s", got.RawJSON(), c.want)
		}
		if got.Auth.AsAny() == nil {
			t.Errorf("the SDK does not know %s", got.Auth.RawJSON())
		}
		again, err := vaults.Credentials.Get(ctx, v.ID, got.ID)
		if err != nil || again.RawJSON() != got.RawJSON() {
			t.Errorf("got %s: %v, want %s", again.RawJSON(), err, got.RawJSON())
		}
		made = append(made, got.ID)
	}
	var listed []string
	pages := vaults.Credentials.ListAutoPaging(ctx, v.ID, openai.BetaAgentVaultCredentialListParams{Order: "asc", Limit: openai.Int(2), Metadata: map[string]string{"n": "m"}})
	for pages.Next() {
		listed = append(listed, pages.Current().ID)
	}
	if diff := cmp.Diff(made, listed); diff != "" || pages.Err() != nil {
		t.Errorf("listed: %s (%v)", diff, pages.Err())
	}
	archived, err := vaults.Credentials.List(ctx, v.ID, openai.BetaAgentVaultCredentialListParams{Status: openai.VaultStatusFilterUnionParam{OfStatus: openai.Opt(openai.VaultStatusArchived)}})
	if err != nil || len(archived.Data) != 0 {
		t.Errorf("archived: %v %v", archived.Data, err)
	}

	deleted, err := vaults.Credentials.Delete(ctx, v.ID, made[0])
	if err != nil || !deleted.Deleted || deleted.ID != made[0] || deleted.Object != "vault.credential.deleted" {
		t.Errorf("deleted: %v %v", deleted, err)
	}
	for what, err := range map[string]error{
		"get":    second(vaults.Credentials.Get(ctx, v.ID, made[0])),
		"update": second(vaults.Credentials.Update(ctx, v.ID, made[0], openai.BetaAgentVaultCredentialUpdateParams{})),
		"delete": second(vaults.Credentials.Delete(ctx, v.ID, made[0])),
	} {
		if !hasStatus(err, 404) {
			t.Errorf("%s after it was deleted: %v, want 404", what, err)
		}
	}
}

// TestRotate replaces secrets with the official SDK, and opens what was stored.
func TestRotate(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vaults := &w.sdk().Beta.Agents.Vaults
	v, err := vaults.New(ctx, openai.BetaAgentVaultNewParams{})
	if err != nil {
		t.Fatal(err)
	}
	const server = "https://mcp.example.com/mcp"
	add := func(auth openai.CredentialAuthCreateParamUnion) string {
		t.Helper()
		c, err := vaults.Credentials.New(ctx, v.ID, openai.BetaAgentVaultCredentialNewParams{Name: "c", Auth: auth, Metadata: map[string]string{"a": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	bearer := add(bearerAuth(server, "bearer 1"))
	variable := add(openai.CredentialAuthCreateParamOfParamEnvironmentVariable(openai.NewCredentialNetworkingParamUnrestricted(), "KEY", "value 1"))
	oauth := add(openai.CredentialAuthCreateParamUnion{OfParamMcpOAuth: &openai.CredentialAuthCreateParamMcpOAuth{
		AccessToken: "access 1", McpServerURL: server, ExpiresAt: openai.String("2026-06-01T00:00:00Z"),
		Refresh: openai.CredentialAuthCreateParamMcpOAuthRefresh{
			ClientID: "client", RefreshToken: "refresh 1", TokenEndpoint: "https://login.example.com/token", Scope: openai.String("read"),
			TokenEndpointAuth: openai.McpOAuthTokenEndpointAuthCreateParamOfParamClientSecretBasic("secret 1"),
		},
	}})
	rotate := func(id string, auth openai.CredentialAuthRotateParamUnion) *openai.Credential {
		t.Helper()
		c, err := vaults.Credentials.Update(ctx, v.ID, id, openai.BetaAgentVaultCredentialUpdateParams{Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		if c.Metadata["a"] != "b" {
			t.Errorf("the rotation changed the metadata to %v", c.Metadata)
		}
		return c
	}
	rotate(bearer, openai.CredentialAuthRotateParamOfParamStaticBearer("bearer 2"))
	rotate(variable, openai.CredentialAuthRotateParamOfParamEnvironmentVariable("value 2"))
	c := rotate(oauth, openai.CredentialAuthRotateParamUnion{OfParamMcpOAuth: &openai.CredentialAuthRotateParamMcpOAuth{
		AccessToken: openai.String("access 2"),
		Refresh: openai.CredentialAuthRotateParamMcpOAuthRefresh{
			RefreshToken: openai.String("refresh 2"), Scope: param.Null[string](),
			TokenEndpointAuth: openai.McpOAuthTokenEndpointAuthRotateParamUnion{OfParamClientSecretBasic: &openai.McpOAuthTokenEndpointAuthRotateParamClientSecretBasic{ClientSecret: openai.String("secret 2")}},
		},
	}})
	if c.Auth.JSON.ExpiresAt.Raw() != "null" || c.Auth.Refresh.JSON.Scope.Raw() != "null" || c.Auth.Refresh.TokenEndpointAuth.Type != "client_secret_basic" {
		t.Errorf("rotated it is %s", c.RawJSON())
	}
	var got []string
	for _, id := range []string{bearer, oauth} {
		o, err := w.vaults.OpenServer(ctx, "a", []string{v.ID}, "", server, id)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Secrets.Token.Reveal(), o.Secrets.RefreshToken.Reveal(), o.Secrets.ClientSecret.Reveal())
	}
	variables, err := w.vaults.OpenEnvironment(ctx, "a", []string{v.ID}, "")
	if err != nil || len(variables) != 1 {
		t.Fatalf("%d variables: %v", len(variables), err)
	}
	got = append(got, variables[0].Secrets.Token.Reveal())
	if diff := cmp.Diff([]string{"bearer 2", "", "", "access 2", "refresh 2", "secret 2", "value 2"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := vaults.Credentials.Update(ctx, v.ID, bearer, openai.BetaAgentVaultCredentialUpdateParams{Auth: openai.CredentialAuthRotateParamOfParamEnvironmentVariable("x")}); !hasStatus(err, 400) {
		t.Errorf("another type: %v, want 400", err)
	}
	cleared, err := vaults.Credentials.Update(ctx, v.ID, bearer, openai.BetaAgentVaultCredentialUpdateParams{Metadata: map[string]string{}})
	if err != nil || len(cleared.Metadata) != 0 {
		t.Errorf("cleared: %v %v", cleared, err)
	}
}
