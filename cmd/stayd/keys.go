package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/client"
)

func newKeys() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "API keys: who may call the server, and for what",
		Long: `API keys belong to a project and are for something: read (to look), write (and to
change), admin (and to manage the project's keys), owner (and to make keys of any
project). The text of a key is told once, when it is made or rotated; of its secret
the server keeps a hash.`,
	}
	cmd.AddCommand(newKeysCreate(), newKeysList(), newKeysRotate(), newKeysRevoke())
	return cmd
}

func newKeysCreate() *cobra.Command {
	var n client.NewKey
	var after string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key and print its text, which is not told again",
		Example: `  stayd keys create ci --scope write --expires 90d
  stayd keys create --project research ann --scope admin`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			if after != "" {
				d, err := days(after)
				if err != nil {
					return err
				}
				n.ExpiresAt = time.Now().Add(d).Unix()
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				k, err := rt.CreateKey(ctx, n)
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), asJSON, k.RawJSON(), "%s\n", k.Text)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&n.Scope, "scope", "write", "what it is for: read, write, admin or owner")
	fs.StringVar(&n.Project, "project", "", "project of the key; default: that of the caller")
	fs.StringVar(&after, "expires", "", "after how long it is not taken any more, as 90d or 12h")
	fs.BoolVar(&asJSON, "json", false, "print the key as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func newKeysList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys of the project",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "NAME", "SCOPE", "ENDS WITH", "CREATED", "STATE")
				for k, err := range rt.Keys(ctx) {
					if err != nil {
						return err
					}
					t.row(k.RawJSON(), k.ID, k.Name, k.Scope, k.Hint, since(k.CreatedAt), stateOfKey(&k))
				}
				return t.flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	addRuntimeFlags(cmd)
	return cmd
}

func stateOfKey(k *client.Key) string {
	switch now := time.Now().Unix(); {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt == nil:
		return "taken"
	case *k.ExpiresAt <= now:
		return "expired"
	}
	return "taken until " + time.Unix(*k.ExpiresAt, 0).UTC().Format("2006-01-02 15:04")
}

func newKeysRotate() *cobra.Command {
	var overlap string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a key another secret and print its new text, which is not told again",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d time.Duration
			if overlap != "" {
				var err error
				if d, err = days(overlap); err != nil {
					return err
				}
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				k, err := rt.RotateKey(ctx, args[0], int64(d/time.Second))
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), asJSON, k.RawJSON(), "%s\n", k.Text)
			})
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "", "how long the text before is still taken, as 7d or 12h; default: not at all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func newKeysRevoke() *cobra.Command {
	return eachID("revoke", "Revoke keys for good", "revoked", func(ctx context.Context, rt *runtime, id string) error {
		_, err := rt.RevokeKey(ctx, id)
		return err
	})
}
