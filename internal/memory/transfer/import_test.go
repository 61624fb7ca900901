package transfer_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/transfer"
)

// imports reads a fixture for alice, without saying its format.
func imports(t *testing.T, name string) ([]memory.Record, transfer.Report) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var records []memory.Record
	report, err := transfer.Import(f, transfer.Options{Actor: "alice", At: at("2025-06-01T00:00:00Z")}, func(r memory.Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, report
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func TestImport(t *testing.T) {
	t.Parallel()
	b, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range b {
		seen[e.Name()] = true
	}
	for name, want := range imported() {
		delete(seen, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, report := imports(t, name)
			if report.Kept != len(got) {
				t.Errorf("the report counts %d drafts, and there are %d", report.Kept, len(got))
			}
			if diff := cmp.Diff(want.records, brief(got)); diff != "" {
				t.Errorf("drafts (-want +got):\n%s", diff)
			}
			report.Lost, want.report.Lost = nil, report.Lost
			if diff := cmp.Diff(want.lost, short(want.report.Lost)); diff != "" {
				t.Errorf("losses (-want +got):\n%s", diff)
			}
			if report.Format != want.report.Format || report.Read != want.report.Read {
				t.Errorf("the report says %s, %d read; want %s, %d", report.Format, report.Read, want.report.Format, want.report.Read)
			}
		})
	}
	for name := range seen {
		if name != "fuzz" {
			t.Errorf("testdata/%s is not tested", name)
		}
	}
}

// brief writes a draft as what a person checks: place, origin and speaker, time
// known to time superseded, external id and links, text, metadata.
func brief(records []memory.Record) []string {
	var out []string
	texts := map[string]string{}
	for _, r := range records {
		texts[r.ID] = r.Text
	}
	for _, r := range records {
		parts := []string{string(r.Strategy), r.Namespace, string(r.Origin)}
		if r.Source.Speaker != "" {
			parts = append(parts, r.Source.Speaker)
		}
		if r.Source.Label != "" {
			parts = append(parts, "label="+r.Source.Label)
		}
		when := r.RecordedAt.Format(time.RFC3339Nano) + ".."
		if !r.SupersededAt.IsZero() {
			when += r.SupersededAt.Format(time.RFC3339Nano)
		}
		parts = append(parts, when, r.Source.External)
		if r.Supersedes != "" {
			parts = append(parts, "after="+texts[r.Supersedes])
		}
		if r.SupersededBy != "" {
			parts = append(parts, "before="+texts[r.SupersededBy])
		}
		if !r.ExpiresAt.IsZero() {
			parts = append(parts, "until="+r.ExpiresAt.Format(time.RFC3339))
		}
		if r.Source.Position != 0 {
			parts = append(parts, fmt.Sprintf("#%d", r.Source.Position))
		}
		parts = append(parts, r.Text)
		if r.Metadata != nil {
			parts = append(parts, pairs(r.Metadata))
		}
		out = append(out, strings.Join(parts, " | "))
	}
	return out
}

func pairs(m map[string]string) string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func short(lost []transfer.Loss) []string {
	var out []string
	for _, l := range lost {
		out = append(out, fmt.Sprintf("%s %d: %s", l.Kind, l.Count, strings.Join(l.Examples, "; ")))
	}
	return out
}

type expectation struct {
	report  transfer.Report
	records []string
	lost    []string
}
