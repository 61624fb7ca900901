package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/exportfile"
	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
)

func newSessionsExport() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Write a session's whole log as JSON Lines",
		Long: `Write a session's whole log as JSON Lines, with the hashes. The file can be
verified anywhere, without a runtime: stayd sessions verify --file FILE.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				if file == "" {
					return export(ctx, rt, args[0], cmd.OutOrStdout())
				}
				f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
				if err != nil {
					return err
				}
				return errors.Join(export(ctx, rt, args[0], f), f.Close())
			})
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write; default: standard output")
	addRuntimeFlags(cmd)
	return cmd
}

func export(ctx context.Context, rt *runtime, id string, out io.Writer) error {
	w := bufio.NewWriter(out)
	for r, err := range rt.Log(ctx, id, 0) {
		if err != nil {
			return err
		}
		if err := exportfile.Write(w, id, r); err != nil {
			return err
		}
	}
	return w.Flush()
}

func newSessionsVerify() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "verify ID",
		Short: "Check that a log is as it was written",
		Long: `Check that a log is as it was written: that no record was changed, taken out,
put in or moved. With --file it is an export that is checked, without a runtime.
The exit code is 5 where it does not verify.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == (len(args) == 0) {
				return usage("name a session, or an export with --file")
			}
			if file != "" {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close() //nolint:errcheck // only read
				v, session, err := exportfile.Verify(f)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				return verdict(cmd.OutOrStdout(), session, v)
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				v, err := rt.Verify(ctx, args[0])
				if err != nil {
					return err
				}
				return verdict(cmd.OutOrStdout(), args[0], v)
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "an export to check")
	addRuntimeFlags(cmd)
	return cmd
}

func verdict(out io.Writer, session string, v client.Verification) error {
	if v.OK {
		_, err := fmt.Fprintf(out, "%s verifies: %d records, last hash %s\n", session, v.Records, v.Hash)
		return err
	}
	return &coded{code: exitUnsound, err: fmt.Errorf("%s does not verify: record %d is not right: %s; the %d before it are", session, v.BadSeq, v.Reason, v.Records)}
}

// styleOf tells the kinds of records apart.
func styleOf(k event.Kind) lipgloss.Style {
	switch {
	case k == event.KindEffectFailed || k == event.KindEffectUnknown:
		return show.Warn
	case k == event.KindEffectFinished:
		return show.Good
	case strings.HasPrefix(string(k), "effect."):
		return show.Call
	case k == event.KindTurnCreated || k == event.KindModelResponded:
		return show.Bold
	}
	return show.Dim
}
