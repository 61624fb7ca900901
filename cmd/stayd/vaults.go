package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/spf13/cobra"
)

func newVaults() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vaults",
		Short: "Keep credentials, and the keys that they are encrypted with",
		Long: `Keep credentials for MCP servers and environments, and the keys that they are
encrypted with. A secret is read from the standard input, or asked for at the
terminal; it is never an argument, and never shown. docs/credentials.md says which
kinds there are, and docs/security.md where the master key is.`,
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

func newVaultsCredentials() *cobra.Command {
	var asJSON bool
	var actor string
	cmd := &cobra.Command{
		Use:   "credentials VAULT",
		Short: "List the credentials of a vault, without their secrets",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				var opts []option.RequestOption
				if actor != "" {
					opts = append(opts, option.WithQuery("actor", actor))
				}
				pages := rt.SDK.Beta.Agents.Vaults.Credentials.ListAutoPaging(ctx, ids[0], openai.BetaAgentVaultCredentialListParams{}, opts...)
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "NAME", "TYPE", "ACTOR", "FOR", "CHANGED")
				for pages.Next() {
					c := pages.Current()
					t.row(c.RawJSON(), c.ID, c.Name, c.Auth.Type, whose(&c), purpose(&c.Auth), since(c.UpdatedAt))
				}
				return errors.Join(pages.Err(), t.flush())
			})
		},
	}
	cmd.Flags().StringVar(&actor, "actor", "", "only those that are this actor's own")
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
