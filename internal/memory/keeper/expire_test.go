package keeper_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

func (h *home) rule(r keeper.Rule) {
	h.Helper()
	if _, err := h.SetRule(h.Context(), "p", r); err != nil {
		h.Fatal(err)
	}
}

func (h *home) expire() {
	h.Helper()
	if err := h.Expire(h.Context()); err != nil {
		h.Fatal(err)
	}
}

const day = 24 * 60 * 60

// TestRulesOfNamespaces says when records expire, by where they stand and when the
// rules were set.
func TestRulesOfNamespaces(t *testing.T) {
	onBoth(t, func(h *home) {
		write := func(namespace string, expires time.Time) memory.Record {
			return h.keep(memory.Record{Namespace: namespace, Strategy: memory.Semantic, Text: "A fact.", ExpiresAt: expires})
		}
		early := write("/actors/ann/sessions/s0", time.Time{})
		h.rule(keeper.Rule{Namespace: "/", ExpireAfterSeconds: 365 * day})
		h.rule(keeper.Rule{Namespace: "/actors/ann", ExpireAfterSeconds: 30 * day})
		h.rule(keeper.Rule{Namespace: "/actors/ann/sessions/", ExpireAfterSeconds: 7 * day})
		h.rule(keeper.Rule{Namespace: "/actors/eve", ExpireAfterSeconds: day})
		h.rule(keeper.Rule{Namespace: "/actors/eve", ExpireAfterSeconds: 2 * day})
		h.rule(keeper.Rule{Namespace: "/actors/bob", ExpireAfterSeconds: day})
		h.rule(keeper.Rule{Namespace: "/actors/bob"})
		for _, c := range []struct {
			r    memory.Record
			want string
		}{
			{early, "0001-01-01"},
			{write("/actors/ann/sessions/s1", time.Time{}), "2026-05-08"},
			{write("/actors/ann/sessions", time.Time{}), "2026-05-08"},
			{write("/actors/ann/sessionsx", time.Time{}), "2026-05-31"},
			{write("/actors/ann", time.Time{}), "2026-05-31"},
			{write("/actors/anna", time.Time{}), "2027-05-01"},
			{write("/actors/eve", time.Time{}), "2026-05-03"},
			{write("/actors/bob", time.Time{}), "2027-05-01"},
			{write("/actors/ann/sessions/s1", date("2026-05-02")), "2026-05-02"},
			{write("/actors/ann/sessions/s1", date("2026-06-02")), "2026-05-08"},
		} {
			if got := c.r.ExpiresAt.Format("2006-01-02"); got != c.want {
				h.Errorf("a record in %s expires on %s, want %s", c.r.Namespace, got, c.want)
			}
		}
		if rules, err := h.Rules(h.Context(), "p"); err != nil || len(rules) != 4 {
			h.Errorf("%d rules, %v; want 4", len(rules), err)
		}
		// Another project has none.
		list, _, err := h.Write(h.Context(), "q", []memory.Record{{Namespace: "/actors/ann", Strategy: memory.Semantic, Text: "A fact."}})
		if err != nil || !list[0].ExpiresAt.IsZero() {
			h.Errorf("a record of another project: %+v, %v", list, err)
		}
	})
}

// TestExpire forgets what has expired, and no more, and says how much.
func TestExpire(t *testing.T) {
	onBoth(t, func(h *home) {
		at := func(hours int) time.Time { return date("2026-05-01").Add(time.Duration(hours) * time.Hour) }
		turn := h.keep(memory.Record{Namespace: "/actors/ann/sessions/s1", Strategy: memory.Turn, Text: "I have bees.", ExpiresAt: at(10)})
		fact := h.drawnFrom("Ann has bees.", turn)
		h.keep(memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "Ann is tired.", ExpiresAt: at(11)})
		h.keep(memory.Record{Namespace: "/actors/bob/facts", Strategy: memory.Semantic, Text: "Bob is tired.", ExpiresAt: at(10)})
		// A newer version does not live longer than the older one was to.
		short := h.keep(memory.Record{Namespace: "/actors/bob/facts", Strategy: memory.Semantic, Text: "Bob is at work.", ExpiresAt: at(10)})
		h.update(short, keeper.Change{Text: ptr("Bob is at home.")})

		h.now = at(10).Add(-time.Microsecond)
		if h.expire(); len(h.left()) != 6 {
			h.Errorf("before the time left is %q", h.left())
		}
		h.now = at(10)
		if got := h.ask(memory.Query{Text: "bees, tired", Namespaces: []string{"/"}, Superseded: true}); !same(got, []string{"Ann has bees.", "Ann is tired."}) {
			h.Errorf("found before it was swept: %q", got)
		}
		if h.expire(); !same(h.left(), []string{"Ann has bees.", "Ann is tired."}) {
			h.Errorf("at the time left is %q", h.left())
		}
		if r := h.memory(fact.ID); !slices.Equal(r.Source.RecordIDs, []string{turn.ID}) {
			h.Errorf("what was drawn from it names %v", r.Source.RecordIDs)
		}
		list, err := h.Receipts(h.Context(), store.ObjectQuery{Project: "p", Limit: 10})
		if err != nil || len(list) != 1 || list[0].Class != "expired" || list[0].Records[memory.Turn] != 1 || list[0].Records[memory.Semantic] != 3 || list[0].Derived != 0 || list[0].Spaces != 2 || !list[0].Verify() {
			h.Errorf("receipts: %+v, %v", list, err)
		}
		h.expire()
		if list, err := h.Receipts(h.Context(), store.ObjectQuery{Project: "p", Limit: 10}); err != nil || len(list) != 1 {
			h.Errorf("%d receipts after nothing expired, %v", len(list), err)
		}
	})
}

// TestWhatIsHeldIsNoObstacle has more held than is swept at once, and older than
// what is not.
func TestWhatIsHeldIsNoObstacle(t *testing.T) {
	onBoth(t, func(h *home) {
		write := func(namespace string, n int, expires time.Time) {
			records := make([]memory.Record, n)
			for i := range records {
				records[i] = memory.Record{Namespace: namespace, Strategy: memory.Semantic, Text: fmt.Sprintf("Fact %d.", i), ExpiresAt: expires}
			}
			if _, _, err := h.Write(h.Context(), "p", records); err != nil {
				h.Fatal(err)
			}
		}
		write("/held/1", 700, date("2026-05-02"))
		write("/free/1", 900, date("2026-05-03"))
		h.rule(keeper.Rule{Namespace: "/held", Hold: true, Reason: "case 12"})
		h.now = date("2026-05-04")
		h.expire()
		sp, _, err := h.store.MemoryChanges(h.Context(), "p", "/free/1", 0, 1)
		if err != nil || sp.Records != 0 {
			h.Errorf("%d records that expired are there, %v", sp.Records, err)
		}
		sp, _, err = h.store.MemoryChanges(h.Context(), "p", "/held/1", 0, 1)
		if err != nil || sp.Records != 700 {
			h.Errorf("%d records that are held are there, %v; want 700", sp.Records, err)
		}
	})
}

// TestReceiptsOfManyNodes lets several sweep the same records: their receipts name
// each record once.
func TestReceiptsOfManyNodes(t *testing.T) {
	onBoth(t, func(h *home) {
		const records = 400
		for i := range records / 20 {
			batch := make([]memory.Record, 20)
			for j := range batch {
				batch[j] = memory.Record{Namespace: fmt.Sprintf("/actors/%d", i), Strategy: memory.Semantic, Text: "A fact.", ExpiresAt: date("2026-05-02")}
			}
			if _, _, err := h.Write(h.Context(), "p", batch); err != nil {
				h.Fatal(err)
			}
		}
		h.now = date("2026-05-03")
		const nodes = 4
		errs := make([]error, nodes)
		together(nodes, func(i int) { errs[i] = keeper.New(h.Config).Expire(h.Context()) })
		if err := errors.Join(errs...); err != nil {
			h.Fatal(err)
		}
		list, err := h.Receipts(h.Context(), store.ObjectQuery{Project: "p", Limit: 100})
		if err != nil {
			h.Fatal(err)
		}
		n := 0
		for i := range list {
			n += list[i].Records[memory.Semantic]
			if list[i].Records[memory.Semantic] == 0 || !list[i].Verify() {
				h.Errorf("receipt %+v", list[i])
			}
		}
		if n != records {
			h.Errorf("%d receipts name %d records, want %d", len(list), n, records)
		}
	})
}

// TestTooManyRules refuses one rule more than are read.
func TestTooManyRules(t *testing.T) {
	h := newHome(t)
	for i := range 1000 {
		r := keeper.Rule{Namespace: fmt.Sprintf("/actors/%d", i), ExpireAfterSeconds: day}
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		o := store.Object{Project: "p", Kind: store.KindMemoryRule, ID: fmt.Sprintf("rule_%04d", i), Version: 1, CreatedAt: h.now, UpdatedAt: h.now, Data: data}
		if err := h.store.CreateObject(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	var bad *keeper.BadRecordError
	if _, err := h.SetRule(t.Context(), "p", keeper.Rule{Namespace: "/more", Hold: true, Reason: "case 12"}); !errors.As(err, &bad) || bad.Param != "namespace" {
		t.Errorf("one more: %v", err)
	}
	h.rule(keeper.Rule{Namespace: "/more"}) // it says nothing
}
