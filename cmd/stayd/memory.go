package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

func newMemory() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "memory",
		Short: "Look at long-term memory, write to it, forget",
		Long: `Look at long-term memory, write to it, forget. A memory stands in a namespace such
as /actors/ann/facts; --actor ann is short for what is about ann and stands below
/actors/ann. docs/memory.md says more.`,
		Example: `  stayd memory add --actor ann "Ann is allergic to peanuts."
  stayd memory search --actor ann "What must she not eat?"
  stayd memory import --actor ann export.json
  stayd memory forget --actor ann`,
		Args: args(cobra.NoArgs),
		RunE: help,
	}
	cmd.AddCommand(
		newMemorySearch(), newMemoryAdd(), newMemoryList(), newMemoryGet(), newMemoryHistory(), newMemoryUpdate(),
		newMemoryForget(), newMemoryReceipts(), newMemoryRules(), newMemoryImport(), newMemoryExport(), memoryBenchCommand(),
	)
	return cmd
}

// memoryFlags are flags that several commands of memory have.
type memoryFlags struct {
	json     bool
	actor    string
	strategy string
	session  string
	metadata map[string]string
}

func (f *memoryFlags) register(cmd *cobra.Command) *pflag.FlagSet {
	fs := cmd.Flags()
	fs.BoolVar(&f.json, "json", false, "print one JSON object a line")
	fs.StringVar(&f.actor, "actor", "", "whom the memories are about")
	addRuntimeFlags(cmd)
	return fs
}

func (f *memoryFlags) registerMore(cmd *cobra.Command) *pflag.FlagSet {
	fs := f.register(cmd)
	fs.StringVar(&f.session, "session", "", "session that the memories were drawn from")
	fs.StringToStringVar(&f.metadata, "metadata", nil, "pairs that stand beside the text, as key=value")
	return fs
}

const strategies = "turn, semantic, preference, summary, episodic or core"

func newMemorySearch() *cobra.Command {
	var f memoryFlags
	var s client.MemorySearch
	var asContext bool
	cmd := &cobra.Command{
		Use:   "search QUESTION...",
		Short: "Find what is relevant to a question, the best first",
		Long: `Find what is relevant to a question, the best first. Times are dates such as
2026-05-03, or times such as 2026-05-03T14:00:00Z: --known-at asks what was believed
then, --valid-at for what is true then.`,
		Example: `  stayd memory search --actor ann "Where does Ann live?"
  stayd memory search --actor ann --known-at 2026-05-03 "Where does Ann live?"`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			s.Text, s.Actor, s.SessionID, s.Metadata = strings.Join(words, " "), f.actor, f.session, f.metadata
			if s.Actor == "" && len(s.Namespaces) == 0 {
				return usage("say where to search: --actor NAME, or --namespace PREFIX, which may be /")
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				found, err := rt.SearchMemories(ctx, s)
				if err != nil {
					return err
				}
				if asContext {
					_, err := fmt.Fprint(cmd.OutOrStdout(), found.Context)
					return err
				}
				if found.NotReranked != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "not reranked: %s\n", found.NotReranked) //nolint:errcheck // an aside
				}
				if found.WordsOnly != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "searched by words alone: %s\n", found.WordsOnly) //nolint:errcheck // an aside
				}
				return printMemories(newOutput(cmd, f.json), s.Superseded, slices.Values(found.Data))
			})
		},
	}
	fs := f.registerMore(cmd)
	fs.StringSliceVar(&s.Namespaces, "namespace", nil, "prefixes below which to search; default: all about the actor")
	fs.StringSliceVar(&s.Strategies, "strategy", nil, "only memories of these strategies: "+strategies)
	fs.StringVar(&s.KnownAt, "known-at", "", "what was believed at this time")
	fs.StringVar(&s.ValidAt, "valid-at", "", "only what is true at this time")
	fs.StringVar(&s.Since, "since", "", "only what is true since this time or later")
	fs.StringVar(&s.Until, "until", "", "only what became true before this time")
	fs.BoolVar(&s.Superseded, "superseded", false, "also what was replaced")
	fs.BoolVar(&s.ExcludeForeign, "exclude-foreign", false, "leave out what rests on the words of tools and other people")
	fs.IntVar(&s.Limit, "limit", 0, "how many at most; default: 10")
	fs.BoolVar(&asContext, "context", false, "print what a model would be given")
	fs.IntVar(&s.MaxTokens, "max-tokens", 0, "how long that may be, in tokens")
	return cmd
}

func newMemoryAdd() *cobra.Command {
	var f memoryFlags
	var n client.NewMemory
	cmd := &cobra.Command{
		Use:     "add TEXT...",
		Short:   "Write a memory",
		Example: `  stayd memory add --actor ann --strategy preference "Ann likes window seats."`,
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			n.Text, n.Actor, n.Strategy, n.Metadata, n.Source.SessionID = strings.Join(words, " "), f.actor, f.strategy, f.metadata, f.session
			if n.Actor == "" && n.Namespace == "" {
				return usage("say where the memory stands: --actor NAME, or --namespace PATH")
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				m, err := rt.AddMemory(ctx, n)
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), f.json, m.RawJSON(), "%s in %s\n", m.ID, m.Namespace)
			})
		},
	}
	fs := f.registerMore(cmd)
	fs.StringVar(&f.strategy, "strategy", "", "what kind of memory it is: "+strategies+"; default: semantic")
	fs.StringVar(&n.Namespace, "namespace", "", "where it stands; default: the strategy's place below the actor")
	fs.StringVar(&n.Origin, "origin", "", "whose words it rests on: client, user, agent, other or tool; default: client")
	fs.Float64Var(&n.Confidence, "confidence", 0, "how sure it is, from 0 to 1")
	fs.StringVar(&n.ValidFrom, "valid-from", "", "since when it is true")
	fs.StringVar(&n.ValidTo, "valid-to", "", "until when it is true, that time not included")
	fs.StringVar(&n.ExpiresAt, "expires-at", "", "when it is to be forgotten")
	return cmd
}

func newMemoryList() *cobra.Command {
	var f memoryFlags
	var namespace string
	var superseded bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List memories, the newest first",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := client.MemoryFilter{Namespace: namespace, Strategy: f.strategy, Actor: f.actor, SessionID: f.session, Metadata: f.metadata, Superseded: superseded}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				var failed error
				err := printMemories(newOutput(cmd, f.json), superseded, func(yield func(client.Memory) bool) {
					n := 0
					for m, err := range rt.Memories(ctx, filter) {
						if failed = err; err != nil || n == limit || !yield(m) {
							return
						}
						n++
					}
				})
				return errors.Join(failed, err)
			})
		},
	}
	fs := f.registerMore(cmd)
	fs.StringVar(&f.strategy, "strategy", "", "only memories of this strategy: "+strategies)
	fs.StringVar(&namespace, "namespace", "", "only memories below this prefix")
	fs.BoolVar(&superseded, "superseded", false, "also what was replaced")
	fs.IntVar(&limit, "limit", 50, "how many at most")
	return cmd
}

// printMemories prints a table of memories; versions says since when they were
// believed, and until when.
func printMemories(o output, versions bool, memories iter.Seq[client.Memory]) error {
	heading, width := []any{"ID", "STRATEGY", "TRUE", "TEXT"}, o.width-50
	if versions {
		heading, width = []any{"ID", "STRATEGY", "TRUE", "KNOWN", "TEXT"}, o.width-75
	}
	if width = max(width, 40); !term.IsTerminal(int(os.Stdout.Fd())) {
		width = math.MaxInt
	}
	t := newTable(o.out, o.json, heading...)
	for m := range memories {
		cells := []any{m.ID, m.Strategy, span(m.ValidFrom, m.ValidTo)}
		if versions {
			cells = append(cells, span(m.RecordedAt, m.SupersededAt))
		}
		t.row(m.RawJSON(), append(cells, show.Shorten(m.Text, width))...)
	}
	return t.flush()
}

// span is the time between two days.
func span(from, to time.Time) string {
	switch {
	case from.IsZero() && to.IsZero():
		return "-"
	case to.IsZero():
		return "since " + from.Format(time.DateOnly)
	case from.IsZero():
		return "until " + to.Format(time.DateOnly)
	}
	return from.Format(time.DateOnly) + " to " + to.Format(time.DateOnly)
}

// said prints what came of a command, or the JSON of it.
func said(out io.Writer, asJSON bool, raw, format string, args ...any) error {
	if asJSON {
		_, err := fmt.Fprintln(out, raw)
		return err
	}
	_, err := fmt.Fprintf(out, format, args...)
	return err
}

func newMemoryGet() *cobra.Command {
	var f memoryFlags
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show a memory with all that is known of it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				m, err := rt.Memory(ctx, ids[0])
				if err != nil {
					return err
				}
				if f.json {
					return said(cmd.OutOrStdout(), true, m.RawJSON(), "")
				}
				return printMemory(newOutput(cmd, false), m)
			})
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print the memory as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// printMemory prints what there is of a memory, a line each.
func printMemory(o output, m *client.Memory) error {
	source, err := json.Marshal(m.Source)
	if err != nil {
		return fmt.Errorf("print the source: %w", err)
	}
	p := show.NewPrinter(o.out, o.width, time.Now)
	p.Line(show.Bold, "%s", show.Shorten(m.Text, math.MaxInt))
	line := func(name, value string) {
		if value != "" && value != "-" && value != "{}" {
			p.Line(show.Dim, "%-13s %s", name, show.Shorten(value, math.MaxInt))
		}
	}
	line("id", m.ID)
	line("namespace", m.Namespace)
	line("strategy", m.Strategy)
	line("about", m.Actor)
	line("origin", m.Origin)
	if m.Confidence > 0 {
		line("confidence", fmt.Sprint(m.Confidence))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		line("metadata", k+"="+m.Metadata[k])
	}
	line("source", string(source))
	line("true", span(m.ValidFrom, m.ValidTo))
	line("known", span(m.RecordedAt, m.SupersededAt))
	line("supersedes", m.Supersedes)
	line("superseded by", m.SupersededBy)
	if !m.ExpiresAt.IsZero() {
		line("expires", m.ExpiresAt.Format(time.RFC3339))
	}
	if m.Uses > 0 {
		line("cited", fmt.Sprintf("%d times, last at %s", m.Uses, m.UsedAt.Format(time.RFC3339)))
	}
	return nil
}

func newMemoryHistory() *cobra.Command {
	var f memoryFlags
	cmd := &cobra.Command{
		Use:   "history ID",
		Short: "List all versions of a memory, the oldest first",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				versions, err := rt.MemoryHistory(ctx, ids[0])
				if err != nil {
					return err
				}
				return printMemories(newOutput(cmd, f.json), true, slices.Values(versions))
			})
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	addRuntimeFlags(cmd)
	return cmd
}

func newMemoryUpdate() *cobra.Command {
	var f memoryFlags
	var from, to string
	var confidence float64
	cmd := &cobra.Command{
		Use:   "update ID [TEXT...]",
		Short: "Replace a memory by a newer version; the older one stays as what was believed",
		Example: `  stayd memory update mem_0a1b... "Ann lives in Rome." --valid-from 2026-05-20
  stayd memory update mem_0a1b... --valid-to 2026-06-30`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			change := client.MemoryChange{Metadata: f.metadata}
			if text := strings.Join(words[1:], " "); text != "" {
				change.Text = &text
			}
			if cmd.Flags().Changed("valid-from") {
				change.ValidFrom = &from
			}
			if cmd.Flags().Changed("valid-to") {
				change.ValidTo = &to
			}
			if cmd.Flags().Changed("confidence") {
				change.Confidence = &confidence
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				m, err := rt.UpdateMemory(ctx, words[0], change)
				if err != nil {
					return err
				}
				return said(cmd.OutOrStdout(), f.json, m.RawJSON(), "%s takes the place of %s\n", m.ID, m.Supersedes)
			})
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.json, "json", false, "print the new version as JSON")
	fs.StringToStringVar(&f.metadata, "metadata", nil, "all pairs that stand beside the text from now on, as key=value")
	fs.StringVar(&from, "valid-from", "", "since when it is true; empty is always")
	fs.StringVar(&to, "valid-to", "", "until when it is true; empty is for ever")
	fs.Float64Var(&confidence, "confidence", 0, "how sure it is, from 0 to 1")
	addRuntimeFlags(cmd)
	return cmd
}
