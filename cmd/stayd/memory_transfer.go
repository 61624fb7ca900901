package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

func newMemoryImport() *cobra.Command {
	var f client.MemoryFile
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import memories from a file of another system, or from an export",
		Long: `Import memories from a file, or from standard input where FILE is -. It is an export
of stayd, what get_all or history of Mem0 answers, a Letta agent file, items of a
LangGraph store, or events and memory records of Bedrock AgentCore; which one is
found out. What cannot be kept is told. The same file can be imported again: what
is there is not written twice.`,
		Example: `  stayd memory import --actor ann mem0.json
  stayd memory import --actor ann --from user-17 events.json
  stayd memory import backup.jsonl`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := io.NopCloser(cmd.InOrStdin())
			if args[0] != "-" {
				var err error
				if in, err = os.Open(args[0]); err != nil {
					return &coded{code: exitUsage, err: err}
				}
			}
			defer in.Close() //nolint:errcheck // only read
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				r, err := rt.ImportMemories(ctx, f, in)
				if err != nil {
					return err
				}
				if asJSON {
					return said(cmd.OutOrStdout(), true, r.RawJSON(), "")
				}
				return printImport(cmd.OutOrStdout(), r)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Actor, "actor", "", "whom the memories are about; an export of stayd needs none")
	fs.StringVar(&f.From, "from", "", "the actor's name in the file, where it is another; * takes everybody's")
	fs.StringVar(&f.Format, "format", "", "stayd, mem0, letta, langgraph or agentcore; default: what the file looks like")
	fs.BoolVar(&asJSON, "json", false, "print the report as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// printImport prints what became of a file, with what could not be kept.
func printImport(out io.Writer, r *client.MemoryReport) error {
	_, err := fmt.Fprintf(out, "%s: %s read, %s written, %d there already\n", r.Format, several(r.Read, "entry", "entries"), several(r.Written, "memory", "memories"), r.Repeated)
	errs := []error{err}
	if len(r.NotKept) > 0 {
		_, err := fmt.Fprintln(out, "not kept, or kept otherwise:")
		errs = append(errs, err)
	}
	for _, l := range r.NotKept {
		where := make([]string, len(l.Examples))
		for i, e := range l.Examples {
			where[i] = show.Shorten(e, 100)
		}
		if l.Count > len(where) {
			where = append(where, "…")
		}
		_, err := fmt.Fprintf(out, "  %d × %s\n      %s\n", l.Count, show.Shorten(l.What, 200), strings.Join(where, "\n      "))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// several is a number with what it counts.
func several(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func newMemoryExport() *cobra.Command {
	var f client.MemoryFile
	var file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write memories as JSON Lines, all versions of them",
		Long: `Write memories as JSON Lines: a line of header, then one for each version of each
memory, with all that is known of it. stayd memory import reads it back, here or in
another project.`,
		Example: `  stayd memory export -o backup.jsonl
  stayd memory export --actor ann -o ann.jsonl`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				body, err := rt.ExportMemories(ctx, f)
				if err != nil {
					return err
				}
				defer body.Close() //nolint:errcheck // only read
				if file == "" {
					_, err := io.Copy(cmd.OutOrStdout(), body)
					return err
				}
				out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
				if err != nil {
					return err
				}
				_, err = io.Copy(out, body)
				return errors.Join(err, out.Close())
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Actor, "actor", "", "only memories about this actor")
	fs.StringVar(&f.Namespace, "namespace", "", "only memories below this prefix")
	fs.BoolVar(&f.Vectors, "vectors", false, "with the vectors, which are large and can be made anew")
	fs.StringVarP(&file, "output", "o", "", "file to write; default: standard output")
	addRuntimeFlags(cmd)
	return cmd
}
