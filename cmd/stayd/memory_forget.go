package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/memory/keeper"
)

func newMemoryForget() *cobra.Command {
	var f client.Forget
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "forget [ID]",
		Short: "Forget a memory, an actor, a session or a namespace for good",
		Long: `Forget a memory, all that is about an actor with the sessions that were with them, a
session with all that was drawn from it, or all that lies below a namespace: every
version of it, and what was drawn from it. It is erased and cannot be brought back.
What is left is a receipt that says how much was forgotten and when, and not what.`,
		Example: `  stayd memory forget mem_0a1b...
  stayd memory forget --actor ann --reason "asked for by mail on 3 May"`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 1 {
				f.MemoryID = ids[0]
			}
			what, err := whatIsForgotten(&f)
			if err != nil {
				return err
			}
			if !yes {
				if err := confirmed(cmd, what); err != nil {
					return err
				}
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				r, err := rt.ForgetMemories(ctx, f)
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), asJSON, r.RawJSON(), "forgot %s; the receipt is %s\n", amount(r), r.ID)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Actor, "actor", "", "forget this actor: all that is about them, and the sessions with them")
	fs.BoolVar(&f.Credentials, "credentials", false, "with --actor: delete their credentials in all vaults too, and take back what they consented to")
	fs.StringVar(&f.SessionID, "session", "", "forget this session, and all that was drawn from it")
	fs.StringVar(&f.Namespace, "namespace", "", "forget all that lies below this prefix")
	fs.StringVar(&f.Reason, "reason", "", "why; it stands in the receipt, so it must not name what is forgotten")
	fs.BoolVar(&yes, "yes", false, "do not ask")
	fs.BoolVar(&asJSON, "json", false, "print the receipt as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// whatIsForgotten says it in words, and refuses anything but one thing.
func whatIsForgotten(f *client.Forget) (string, error) {
	var what []string
	for _, one := range []struct{ words, name string }{
		{"the memory ", f.MemoryID},
		{"all sessions with, and all that is about, the actor ", f.Actor},
		{"the session ", f.SessionID},
		{"all that lies below ", f.Namespace},
	} {
		if one.name != "" {
			what = append(what, one.words+one.name)
		}
	}
	if len(what) != 1 {
		return "", usage("say one thing to forget: the ID of a memory, --actor, --session or --namespace")
	}
	if f.Credentials {
		if f.Actor == "" {
			return "", usage("credentials are an actor's: say --actor with --credentials")
		}
		return what[0] + ", and their credentials", nil
	}
	return what[0], nil
}

// confirmed asks the person at the terminal.
func confirmed(cmd *cobra.Command, what string) error {
	p := personAt(os.Stdin, os.Stderr)
	if p == nil {
		return usage("nobody is there to confirm that %s is to be forgotten: say --yes", what)
	}
	question := fmt.Sprintf("Forget %s, with what was drawn from it, for good? yes or no: ", show.Shorten(what, 200))
	choice, err := p.choose(cmd.Context(), question, "yes", "no")
	if errors.Is(err, io.EOF) || choice == "no" {
		return &coded{code: exitFailed, err: errors.New("nothing was forgotten")}
	}
	return err
}

// amount says how much was forgotten.
func amount(r *client.Receipt) string {
	total := 0
	var parts []string
	for _, strategy := range slices.Sorted(maps.Keys(r.Records)) {
		total += r.Records[strategy]
		parts = append(parts, strconv.Itoa(r.Records[strategy])+" "+strategy)
	}
	if total == 0 && r.Sessions == 0 && r.Credentials == 0 {
		return "nothing, as there was nothing"
	}
	text := several(total, "memory", "memories")
	if total > 0 {
		text += " (" + strings.Join(parts, ", ") + ")"
	}
	if r.Derived > 0 {
		text += fmt.Sprintf(", of which %d drawn from others", r.Derived)
	}
	if r.Sessions > 0 {
		text += " and " + several(r.Sessions, "session", "sessions")
	}
	if r.Credentials > 0 {
		text += " and " + several(r.Credentials, "credential", "credentials")
	}
	return text
}

func newMemoryReceipts() *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "receipts",
		Short: "List the receipts of what was forgotten, and check their signatures",
		Long: `List the receipts of what was forgotten, the newest first, and check their
signatures. The exit code is 5 where one does not verify.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				return printReceipts(ctx, rt, cmd.OutOrStdout(), asJSON, limit)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	addRuntimeFlags(cmd)
	return cmd
}

func printReceipts(ctx context.Context, rt *runtime, out io.Writer, asJSON bool, limit int) error {
	t := newTable(out, asJSON, "ID", "WHEN", "CLASS", "FORGOTTEN", "SIGNATURE", "REASON")
	var unsound []string
	n := 0
	for r, err := range rt.MemoryReceipts(ctx) {
		if err != nil {
			return errors.Join(err, t.flush())
		}
		if n++; n > limit {
			break
		}
		signature := "verifies"
		var signed keeper.Receipt
		if json.Unmarshal([]byte(r.RawJSON()), &signed) != nil || !signed.Verify() {
			signature, unsound = "is wrong", append(unsound, r.ID)
		}
		t.row(r.RawJSON(), r.ID, r.At.Format(time.RFC3339), r.Class, amount(&r), signature, show.Shorten(r.Reason, 60))
	}
	if err := t.flush(); err != nil || len(unsound) == 0 {
		return err
	}
	return &coded{code: exitUnsound, err: fmt.Errorf("receipts that do not verify: %s", strings.Join(unsound, ", "))}
}

func newMemoryRules() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List what expires and what is held",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				rules, err := rt.MemoryRules(ctx)
				if err != nil {
					return err
				}
				return printRules(cmd.OutOrStdout(), asJSON, rules)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	addRuntimeFlags(cmd)
	cmd.AddCommand(newMemoryRulesSet())
	return cmd
}

func printRules(out io.Writer, asJSON bool, rules []client.MemoryRule) error {
	t := newTable(out, asJSON, "NAMESPACE", "EXPIRES AFTER", "HELD")
	for _, r := range rules {
		raw, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("print a rule: %w", err)
		}
		after, held := "-", "-"
		if r.ExpireAfterSeconds > 0 {
			after = inDays(time.Duration(r.ExpireAfterSeconds) * time.Second)
		}
		if r.Hold {
			held = show.Shorten(r.Reason, 80)
		}
		t.row(string(raw), r.Namespace, after, held)
	}
	return t.flush()
}

func newMemoryRulesSet() *cobra.Command {
	var after, hold string
	cmd := &cobra.Command{
		Use:   "set NAMESPACE",
		Short: "Set what holds below a namespace, in place of what held there",
		Long: `Set what holds below a namespace, in place of what held there: when memories that
are written from now on are forgotten, and whether anything may be forgotten at all.
Without a flag nothing holds there any more.`,
		Example: `  stayd memory rules set /actors/ann --expire-after 30d
  stayd memory rules set /actors/ann --hold "case 7"`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := client.MemoryRule{Namespace: args[0], Hold: hold != "", Reason: hold}
			if after != "" {
				d, err := days(after)
				if err != nil {
					return err
				}
				r.ExpireAfterSeconds = int64(d / time.Second)
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				set, err := rt.SetMemoryRule(ctx, r)
				if err != nil {
					return err
				}
				if set.ExpireAfterSeconds == 0 && !set.Hold {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "no rule for %s\n", set.Namespace)
					return err
				}
				return printRules(cmd.OutOrStdout(), false, []client.MemoryRule{*set})
			})
		},
	}
	cmd.Flags().StringVar(&after, "expire-after", "", "how long after its writing a memory is forgotten, as 30d or 12h")
	cmd.Flags().StringVar(&hold, "hold", "", "forget nothing, for this reason")
	addRuntimeFlags(cmd)
	return cmd
}

const day = 24 * time.Hour

// days reads a duration that may be in days.
func days(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, isDays := strings.CutSuffix(s, "d"); isDays {
		const most = 100_000 // as many as a time.Duration has
		var count int64
		count, err = strconv.ParseInt(n, 10, 32)
		d = time.Duration(min(count, most)) * day
	}
	if err != nil || d < time.Second {
		return 0, usage("--expire-after %q is not a duration like 30d or 12h", s)
	}
	return d, nil
}

func inDays(d time.Duration) string {
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}
