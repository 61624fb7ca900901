package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/bench"
	"github.com/stayd/stayd/internal/store"
)

// memorySearchFlags are the flags of memory bench search.
type memorySearchFlags struct {
	measurement
	store   string
	records []int
	spaces  []int
	clients []int
}

func memorySearchBenchCommand() *cobra.Command {
	var f memorySearchFlags
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Measure searches of made records on this machine",
		Long: `Measure searches of made records in long-term memory on this machine.

The records are made of English words, as frequent as words are, in one space or
in many; a search asks one space for a record in some of its words, through the
same code as the API, with vectors of words that need no network. A million
records take some minutes to write and about 1 GB of disk each time. A PostgreSQL
store should be made for the bench: what the bench writes stays in it.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.store, "store", "", "postgres:// URL of the store to measure; without it a SQLite file")
	f.addFlags(fs, "for how long is searched, by each number of clients")
	fs.IntSliceVar(&f.records, "records", []int{10_000, 100_000, 1_000_000}, "how many records there are")
	fs.IntSliceVar(&f.spaces, "spaces", []int{1, 1000}, "in how many spaces they are")
	fs.IntSliceVar(&f.clients, "clients", []int{1, 16}, "how many search at once")
	return cmd
}

func (f *memorySearchFlags) run(ctx context.Context, out io.Writer) error {
	for name, list := range map[string][]int{"records": f.records, "spaces": f.spaces, "clients": f.clients} {
		for _, n := range list {
			if n < 1 {
				return usage("--%s %d is not from 1 up", name, n)
			}
		}
	}
	return measure(&f.measurement, out, func(dir string, progress func(string)) (*bench.SearchResult, error) {
		return bench.Search(ctx, bench.SearchOptions{
			Run:      "bench_" + strconv.FormatInt(time.Now().UnixMilli(), 36),
			Open:     func(ctx context.Context, name string) (store.Store, error) { return openBench(ctx, f.store, dir, name) },
			Duration: f.duration, Records: f.records, Spaces: f.spaces, Clients: f.clients, Progress: progress,
		})
	}, printMemorySearch)
}

func printMemorySearch(t *figures, r *bench.SearchResult) {
	t.row("records\tspaces\twrites\tstored\tin memory\tfound\tfirst\tat once\tp50\tp99\tsearches")
	for i := range r.Memories {
		m := &r.Memories[i]
		front := fmt.Sprintf("%d\t%d\t%.0f/s\t%.0f B each\t%.0f B each\t%.0f%%\t%.1f ms", m.Records, m.Spaces, m.WritesPerS, m.StoredBytes, m.MemoryBytes, 100*m.Found, m.FirstMS)
		for j := range m.Searches {
			s := &m.Searches[j]
			t.row("%s\t%d\t%.2f ms\t%.2f ms\t%.0f/s", front, s.Clients, s.P50MS, s.P99MS, s.PerS)
			front = "\t\t\t\t\t\t"
		}
	}
}
