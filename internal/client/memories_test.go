package client_test

import (
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/memories"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// rememberer is a client of long-term memory in this process.
func rememberer(t *testing.T) *client.Client {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	server := httpapi.New(httpapi.Config{Log: log, Version: "test", Stopping: make(chan struct{})})
	memories.Mount(server, memories.Config{Keeper: keeper.New(keeper.Config{Store: st, Now: time.Now, Log: log})})
	return client.Embed(server, "")
}

// TestAMemoryFromItsWritingToItsEnd goes through all that can be done with one.
func TestAMemoryFromItsWritingToItsEnd(t *testing.T) {
	c, ctx := rememberer(t), t.Context()
	fact, err := c.AddMemory(ctx, client.NewMemory{
		Text: "Ann lives in Paris.", Actor: "ann", Metadata: map[string]string{"by": "mail"}, ValidFrom: "2026-05-01", Confidence: 0.5,
		Source: client.MemorySource{SessionID: "s1"},
	})
	if err != nil || fact.Namespace != "/actors/ann/facts" || !fact.ValidFrom.Equal(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)) ||
		fact.Confidence != 0.5 || fact.Source.SessionID != "s1" || fact.RecordedAt.IsZero() || !fact.ValidTo.IsZero() {
		t.Fatalf("written: %+v, %v", fact, err)
	}
	got, err := c.Memory(ctx, fact.ID)
	if err != nil || got.Text != fact.Text || !strings.HasPrefix(got.RawJSON(), `{"id":"`+fact.ID+`","object":"memory"`) {
		t.Errorf("read: %+v, %v", got, err)
	}
	text := "Ann lives in Rome."
	newer, err := c.UpdateMemory(ctx, fact.ID, client.MemoryChange{Text: &text})
	if err != nil || newer.Supersedes != fact.ID || newer.Metadata["by"] != "mail" {
		t.Errorf("updated: %+v, %v", newer, err)
	}
	versions, err := c.MemoryHistory(ctx, newer.ID)
	if err != nil || len(versions) != 2 || versions[0].SupersededBy != newer.ID {
		t.Errorf("history: %+v, %v", versions, err)
	}
	found, err := c.SearchMemories(ctx, client.MemorySearch{Text: "Where does Ann live?", Actor: "ann", Limit: 1})
	if err != nil || len(found.Data) != 1 || found.Data[0].Text != text || found.Data[0].Citation != 1 || found.Data[0].Score <= 0 || found.Context != "[1] 2026-05-01 Ann lives in Rome.\n" {
		t.Errorf("found: %+v, %v", found, err)
	}
	receipt, err := c.ForgetMemories(ctx, client.Forget{MemoryID: fact.ID, Reason: "a test"})
	if err != nil || receipt.Records["semantic"] != 2 || receipt.Class != "record" || receipt.Reason != "a test" {
		t.Errorf("receipt: %+v, %v", receipt, err)
	}
	var refused *client.APIError
	if _, err := c.Memory(ctx, fact.ID); !errors.As(err, &refused) || refused.Status != 404 || refused.Code != "not_found" {
		t.Errorf("after it is forgotten: %v", err)
	}
	for r, err := range c.MemoryReceipts(ctx) {
		if err != nil || r.RawJSON() != receipt.RawJSON() {
			t.Errorf("the receipt is %s, %v", r.RawJSON(), err)
		}
	}
}

// TestManyMemories lists more than a page, carries them to another project and
// sets what holds for them.
func TestManyMemories(t *testing.T) {
	c, ctx := rememberer(t), t.Context()
	for range 101 {
		if _, err := c.AddMemory(ctx, client.NewMemory{Text: "Ann sails.", Actor: "ann", Metadata: map[string]string{"a[b]": "c&d"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.AddMemory(ctx, client.NewMemory{Text: "Bob sails.", Namespace: "/teams/blue", Strategy: "episodic", Origin: "tool"}); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[*client.MemoryFilter]int{
		{}: 102, {Actor: "ann"}: 101, {Namespace: "/teams"}: 1, {Strategy: "episodic"}: 1, {SessionID: "s1"}: 0, {Superseded: true}: 102,
		{Metadata: map[string]string{"a[b]": "c&d"}}: 101, {Metadata: map[string]string{"a[b]": "c"}}: 0,
	} {
		n := 0
		for m, err := range c.Memories(ctx, *filter) {
			if err != nil || m.ID == "" {
				t.Fatalf("%+v: %+v, %v", filter, m, err)
			}
			n++
		}
		if n != want {
			t.Errorf("%+v lists %d, want %d", filter, n, want)
		}
	}
	for _, err := range c.Memories(ctx, client.MemoryFilter{Strategy: "fact"}) {
		if client.Status(err) != 400 {
			t.Errorf("no strategy: %v", err)
		}
	}

	file, err := c.ExportMemories(ctx, client.MemoryFile{Namespace: "/teams", Vectors: true})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil || strings.Count(string(content), "\n") != 2 || !strings.Contains(string(content), "Bob sails.") {
		t.Fatalf("exported: %s, %v", content, err)
	}
	report, err := rememberer(t).ImportMemories(ctx, client.MemoryFile{}, strings.NewReader(string(content)))
	if err != nil || report.Format != "stayd" || report.Written != 1 || len(report.NotKept) != 0 || !strings.HasPrefix(report.RawJSON(), `{"object":"memory.import"`) {
		t.Errorf("imported: %+v, %v", report, err)
	}
	report, err = c.ImportMemories(ctx, client.MemoryFile{Format: "mem0", Actor: "ann", From: "ann@example.com"}, strings.NewReader(`[{"id":"1","memory":"Ann rows.","user_id":"ann@example.com","hash":"x"}]`))
	if err != nil || report.Written != 1 || len(report.NotKept) != 1 || report.NotKept[0].Kind != "hash" || report.NotKept[0].Count != 1 {
		t.Errorf("imported: %+v, %v", report, err)
	}
	if _, err := c.ImportMemories(ctx, client.MemoryFile{}, strings.NewReader("{}")); client.Status(err) != 400 {
		t.Errorf("no file of memories: %v", err)
	}

	hold := client.MemoryRule{Namespace: "/teams", Hold: true, Reason: "Case 7."}
	if set, err := c.SetMemoryRule(ctx, hold); err != nil || *set != hold {
		t.Errorf("set: %+v, %v", set, err)
	}
	if rules, err := c.MemoryRules(ctx); err != nil || !slices.Equal(rules, []client.MemoryRule{hold}) {
		t.Errorf("rules: %+v, %v", rules, err)
	}
	var refused *client.APIError
	if _, err := c.ForgetMemories(ctx, client.Forget{Namespace: "/"}); !errors.As(err, &refused) || refused.Code != "memory_held" {
		t.Errorf("forget what is held: %v", err)
	}
}
