package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/exportfile"
	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
)

func newSessions() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "Look at sessions and their logs", Args: args(cobra.NoArgs), RunE: help}
	cmd.AddCommand(
		newSessionsList(), newSessionsShow(), newSessionsLog(), newSessionsVerify(), newSessionsExport(), newSessionsResolve(), newSessionsFork(), newSessionsDiff(), newSessionsArtifacts(), newSessionsToken(), newSessionsDelete(),
	)
	return cmd
}

func newSessionsList() *cobra.Command {
	var asJSON bool
	var q client.SessionQuery
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sessions, the newest first",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "STATUS", "MODEL", "TOKENS", "LAST ACTIVE", "AGENT")
				for s, err := range rt.Sessions(ctx, q) {
					if err != nil {
						return errors.Join(err, t.flush())
					}
					t.row(s.RawJSON(), s.ID, s.Status, s.Agent.Model, s.Usage.TotalTokens, since(s.LastActiveAt), s.Metadata["agent"])
				}
				return t.flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().IntVar(&q.Limit, "limit", 50, "how many at most; 0 is all")
	cmd.Flags().StringVar(&q.ForkedFrom, "forked-from", "", "only forks of the session with this id")
	addRuntimeFlags(cmd)
	return cmd
}

func newSessionsShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a session and its conversation",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				return showSession(ctx, rt, args[0], newOutput(cmd, asJSON))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the session and its items as JSON, one a line")
	addRuntimeFlags(cmd)
	return cmd
}

func showSession(ctx context.Context, rt *runtime, id string, o output) error {
	s, err := rt.SDK.Beta.Agents.Sessions.Get(ctx, id)
	if err != nil {
		return err
	}
	if o.json {
		if _, err := fmt.Fprintln(o.out, s.RawJSON()); err != nil {
			return err
		}
	}
	p := show.NewPrinter(o.out, o.width, time.Now)
	items := rt.SDK.Beta.Agents.Sessions.Items.ListAutoPaging(ctx, id, openai.BetaAgentSessionItemListParams{Order: openai.BetaAgentSessionItemListParamsOrderAsc})
	for items.Next() {
		raw := items.Current().RawJSON()
		if o.json {
			if _, err := fmt.Fprintln(o.out, raw); err != nil {
				return err
			}
			continue
		}
		var it show.Item
		if err := json.Unmarshal([]byte(raw), &it); err != nil {
			return fmt.Errorf("read an item: %w", err)
		}
		p.Item(&it)
	}
	if err := items.Err(); err != nil || o.json {
		return err
	}
	p.Line(show.Dim, "%s · %s · %s · %d tokens · active %s", s.ID, s.Status, s.Agent.Model, s.Usage.TotalTokens, since(s.LastActiveAt))
	var now show.Session
	if err := json.Unmarshal([]byte(s.RawJSON()), &now); err != nil {
		return fmt.Errorf("read the session: %w", err)
	}
	for i := range now.Actions {
		a := &now.Actions[i]
		p.Line(show.Warn, "waits: %s of %s %s", a.Type, cmp.Or(a.Name, a.ServerLabel, "the environment"), cmp.Or(a.URL, a.EffectID+a.CallID, a.EnvironmentID))
	}
	return nil
}

func newSessionsLog() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "log ID",
		Short: "Print a session's log as a story",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				return printLog(ctx, rt, args[0], newOutput(cmd, asJSON))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the records as JSON, one a line")
	addRuntimeFlags(cmd)
	return cmd
}

func printLog(ctx context.Context, rt *runtime, id string, o output) error {
	p := show.NewPrinter(o.out, o.width, time.Now)
	var first time.Time
	for r, err := range rt.Log(ctx, id, 0) {
		if err != nil {
			return err
		}
		if o.json {
			if err := exportfile.WriteJSON(o.out, &r); err != nil {
				return err
			}
			continue
		}
		rec, err := r.Record(id)
		if err != nil {
			return err
		}
		payload, err := event.Decode(&rec)
		if err != nil {
			return err
		}
		if first.IsZero() {
			first = r.Time
			p.Line(show.Dim, "%4s %9s  %-10s %-22s", "seq", r.Time.Local().Format("15:04:05"), "hash", "kind")
		}
		p.Line(styleOf(rec.Kind), "%4d %9s  %-10s %-22s %s", r.Seq, "+"+offset(r.Time.Sub(first)), r.Hash[:8], r.Kind, show.Story(payload, o.width))
	}
	return nil
}

func offset(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

func newSessionsDelete() *cobra.Command {
	return eachID("delete", "Delete sessions and forget what they held", "deleted", func(ctx context.Context, rt *runtime, id string) error {
		_, err := rt.SDK.Beta.Agents.Sessions.Delete(ctx, id)
		return err
	})
}

func newSessionsResolve() *cobra.Command {
	var out, reason string
	cmd := &cobra.Command{
		Use:   "resolve ID EFFECT approve|deny|completed|failed|retry",
		Short: "Decide about an effect that waits for a person",
		Long: `Decide about an effect that waits for a person: approve or deny one that was not
begun; say of one whose outcome nobody knows that it is completed (with --output),
that it failed, or that it is to be tried again.`,
		Args: args(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				if err := resolve(ctx, rt, args[0], args[1], args[2], out, reason); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s; see how it goes on with: stayd run --session %s\n", args[1], args[2], args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&out, "output", "", "what a completed call returned")
	cmd.Flags().StringVar(&reason, "reason", "", "why; the agent is told")
	addRuntimeFlags(cmd)
	return cmd
}
