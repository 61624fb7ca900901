package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/client"
)

func newSessionsToken() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "token ID",
		Short: "Give a session's self-hosted environment a new token",
		Long: `Give a session's self-hosted environment a new token, and print the command that
connects a machine with it. The token before does not work any more: a machine that
is connected with it is disconnected. What ran there is not run again when it
connects with the new one. The token is not shown a second time.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				s, err := rt.SDK.Beta.Agents.Sessions.Get(ctx, args[0])
				if err != nil {
					return err
				}
				if s.Environment.Type != "self_hosted" {
					return fmt.Errorf("the environment of session %s is %s: only a self-hosted one has a token", s.ID, s.Environment.Type)
				}
				t, err := rt.RenewToken(ctx, s.Environment.ID)
				if err != nil {
					return err
				}
				return printToken(cmd.OutOrStdout(), t, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print URL and token as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func printToken(w io.Writer, t *client.Token, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	_, err := fmt.Fprintf(w, "stayd exec --url %s --token %s\n", t.RemoteURL, t.Token)
	return err
}
