package keeper_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
)

// interval writes the time in which a record holds.
func interval(r *memory.Record) string {
	day := func(t time.Time) string {
		if t.IsZero() {
			return "open"
		}
		return t.UTC().Format("2006-01-02")
	}
	return day(r.ValidFrom) + " to " + day(r.ValidTo)
}

// said keeps a turn of the date.
func (h *home) said(on, text string) memory.Record {
	h.Helper()
	return h.keep(memory.Record{
		Namespace: "/actors/ann/sessions/s1", Strategy: memory.Turn, Actor: "ann", Text: text, ValidFrom: date(on),
		Source: memory.Source{SessionID: "s1", Speaker: "Ann"},
	})
}

// drawnFrom keeps a fact that was drawn from the records.
func (h *home) drawnFrom(text string, from ...memory.Record) memory.Record {
	h.Helper()
	r := memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Actor: "ann", Text: text}
	for _, f := range from {
		r.Source.RecordIDs = append(r.Source.RecordIDs, f.ID)
	}
	return h.keep(r)
}

// TestEventDates says when facts became true, by their text and the date of the
// message that they were drawn from. The clock is years away from both.
func TestEventDates(t *testing.T) {
	cases := []struct{ said, text, want string }{
		// Days, over the ends of months and years.
		{"2026-05-03", "Ann moved to Berlin last Tuesday.", "2026-04-28 to open"},
		{"2023-05-03", "Ann moved to Berlin last Tuesday.", "2023-05-02 to open"},
		{"2026-01-01", "Ann met Bob last Friday.", "2025-12-26 to open"},
		{"2026-12-28", "Ann will fly to Oslo next Friday.", "2027-01-08 to open"},
		{"2024-02-29", "Ann will fly to Oslo next Friday.", "2024-03-08 to open"},
		{"2024-03-01", "Ann got a dog yesterday.", "2024-02-29 to open"},
		{"2023-03-01", "Ann got a dog yesterday.", "2023-02-28 to open"},
		{"2024-03-01", "Ann was ill the day before yesterday.", "2024-02-28 to open"},
		{"2026-03-01", "Ann was ill the day before yesterday.", "2026-02-27 to open"},
		{"2026-01-01", "Ann was ill the day before yesterday.", "2025-12-30 to open"},
		{"2026-05-01", "Ann was ill the day before yesterday.", "2026-04-29 to open"},
		{"2026-12-31", "Ann starts her new job tomorrow.", "2027-01-01 to open"},
		{"2024-02-28", "Ann starts her new job tomorrow.", "2024-02-29 to open"},
		{"2025-02-28", "Ann starts her new job tomorrow.", "2025-03-01 to open"},
		{"2026-12-30", "Ann leaves the day after tomorrow.", "2027-01-01 to open"},
		{"2026-01-01", "Ann cooked last night.", "2025-12-31 to open"},
		{"2026-03-01", "Ann ran a marathon ten days ago.", "2026-02-19 to open"},
		{"2024-03-10", "Ann ran a marathon ten days ago.", "2024-02-29 to open"},
		{"2026-01-01", "Ann called a couple of days ago.", "2025-12-30 to open"},
		{"2026-01-09", "Ann sold the car two Fridays ago.", "2025-12-26 to open"},
		{"2026-01-01", "Ann saw a doctor on Tuesday of last week.", "2025-12-23 to open"},
		{"2026-12-30", "Ann was in Rome on Monday.", "2026-12-28 to open"},
		{"2026-12-30", "Ann will leave on Monday.", "2027-01-04 to open"},
		{"2026-01-02", "Ann has been ill since Monday.", "2025-12-29 to open"},
		{"2026-01-02", "Ann moved in on 31 December.", "2025-12-31 to open"},
		{"2026-12-30", "Ann moves in on January 2nd.", "2027-01-02 to open"},
		{"2025-03-10", "Ann was born on 29 February.", "2024-02-29 to open"},
		{"2026-05-03", "Ann met Bob the Sunday before 1 March 2024.", "2024-02-25 to open"},
		{"2026-05-03", "Ann met Bob on 7 May 2023.", "2023-05-07 to open"},
		{"2026-05-03", "Ann's badge is valid from 2026-06-01.", "2026-06-01 to open"},

		// Weeks, months and years.
		{"2026-01-15", "Ann quit three weeks ago.", "2025-12-22 to open"},
		{"2026-01-05", "Ann quit three weeks ago.", "2025-12-15 to open"},
		{"2026-03-01", "Ann quit a week ago.", "2026-02-16 to open"},
		{"2026-01-03", "Ann painted the kitchen last week.", "2025-12-22 to open"},
		{"2027-01-01", "Ann paints the kitchen this week.", "2026-12-28 to open"},
		{"2026-05-03", "Ann is on holiday next week.", "2026-05-04 to open"},
		{"2026-05-04", "Ann went sailing last weekend.", "2026-05-02 to open"},
		{"2026-01-04", "Ann went sailing two weekends ago.", "2025-12-20 to open"},
		{"2026-12-25", "Ann flies home in two weeks.", "2027-01-04 to open"},
		{"2026-01-15", "Ann learned to ski last month.", "2025-12-01 to open"},
		{"2026-01-31", "Ann opens a shop next month.", "2026-02-01 to open"},
		{"2026-03-31", "Ann opened a shop a month ago.", "2026-02-01 to open"},
		{"2026-05-31", "Ann opened a shop three months ago.", "2026-02-01 to open"},
		{"2026-02-10", "Ann opened a shop in November.", "2025-11-01 to open"},
		{"2026-11-20", "Ann will open a shop in January.", "2027-01-01 to open"},
		{"2026-01-20", "Ann changed banks last quarter.", "2025-10-01 to open"},
		{"2026-01-20", "Ann walked the Alps last summer.", "2025-06-01 to open"},
		{"2026-01-01", "Ann learned Danish last year.", "2025-01-01 to open"},
		{"2024-02-29", "Ann learned Danish a year ago.", "2023-01-01 to open"},
		{"2024-02-29", "Ann retires a year from now.", "2025-01-01 to open"},
		{"2026-05-03", "Ann has worked at Acme since 2016.", "2016-01-01 to open"},

		// A time with two ends.
		{"2026-05-03", "Ann worked at Acme from 2016 to 2018.", "2016-01-01 to 2019-01-01"},
		{"2026-05-03", "Ann lived in Rome between March 2025 and May 2025.", "2025-03-01 to 2025-06-01"},
		{"2026-05-03", "Ann lived in Paris until May 2023.", "open to 2023-06-01"},
		{"2026-05-03", "Ann is on holiday until next Friday.", "2026-05-03 to 2026-05-09"},

		// What names no date, or more than one, holds from when it was said.
		{"2026-05-03", "Ann lives in Lisbon.", "2026-05-03 to open"},
		{"2026-05-03", "Ann was in Rome on 3 March 2026 and in Oslo on 5 April 2026.", "2026-05-03 to open"},
		{"2026-05-03", "Ann is reading 1984.", "2026-05-03 to open"},
		{"2026-05-03", "Ann jogs every Monday.", "2026-05-03 to open"},
	}
	onBoth(t, func(h *home) {
		h.now = date("2031-07-09")
		for _, c := range cases {
			turn := h.said(c.said, c.text)
			fact := h.drawnFrom(c.text, turn)
			stored, err := h.Get(h.Context(), "p", fact.ID)
			if err != nil {
				h.Fatal(err)
			}
			if got := interval(&stored); got != c.want {
				h.Errorf("said on %s, %q holds %s, want %s", c.said, c.text, got, c.want)
			}
			if got, want := interval(&turn), c.said+" to open"; got != want {
				h.Errorf("the turn %q is of %s, want %s", c.text, got, want)
			}
		}
	})
}

// TestOwnDate says what the date of a record is that does not have one of its own.
func TestOwnDate(t *testing.T) {
	h := newHome(t)
	early, late := h.said("2026-03-10", "I was in Rome."), h.said("2026-04-20", "And yesterday in Oslo.")
	live := h.keep(memory.Record{Namespace: "/actors/ann/sessions/s1", Strategy: memory.Turn, Text: "I bought a boat yesterday."})
	one := memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic}
	for _, c := range []struct {
		name   string
		change func(r *memory.Record)
		want   string
	}{
		{"the latest of its sources", func(r *memory.Record) {
			r.Text, r.Source.RecordIDs = "Ann was in Oslo yesterday.", []string{late.ID, early.ID}
		}, "2026-04-19 to open"},
		{"a turn without a date was said when it was recorded", func(r *memory.Record) {
			r.Text, r.Source.RecordIDs = "Ann bought a boat yesterday.", []string{live.ID}
		}, "2026-04-30 to open"},
		{"none: what is relative says nothing", func(r *memory.Record) { r.Text = "Ann sold a boat yesterday." }, "open to open"},
		{"none: a full date needs no other", func(r *memory.Record) { r.Text = "Ann sold a boat on 2 March 2026." }, "2026-03-02 to open"},
		{"what the writer says counts", func(r *memory.Record) {
			r.Text, r.Source.RecordIDs, r.ValidFrom = "Ann was in Oslo yesterday.", []string{late.ID}, date("2026-01-01")
		}, "2026-01-01 to open"},
		{"an end that the writer says is not contradicted", func(r *memory.Record) {
			r.Text, r.Source.RecordIDs, r.ValidTo = "Ann was in Oslo yesterday.", []string{late.ID}, date("2026-02-01")
		}, "open to 2026-02-01"},
		{"what comes from elsewhere stays as it was", func(r *memory.Record) {
			r.Text, r.Source.RecordIDs, r.RecordedAt = "Ann was in Oslo yesterday.", []string{late.ID}, date("2026-02-01")
		}, "open to open"},
		{"a summary is of many times", func(r *memory.Record) {
			r.Text, r.Source.RecordIDs, r.Strategy = "Ann was in Oslo yesterday.", []string{late.ID}, memory.Summary
		}, "2026-04-20 to open"},
	} {
		r := one
		c.change(&r)
		r = h.keep(r)
		if got := interval(&r); got != c.want {
			t.Errorf("%s: it holds %s, want %s", c.name, got, c.want)
		}
	}
}

// TestUpdatesAndDates says when a newer version holds.
func TestUpdatesAndDates(t *testing.T) {
	h := newHome(t)
	turn := h.said("2026-04-20", "I moved last week.")
	for _, c := range []struct {
		name string
		text string
		c    keeper.Change
		want string
	}{
		{"a correction holds as what it corrects", "Ann lives in Porto.", keeper.Change{}, "2025-01-01 to 2027-01-01"},
		{"a full date", "Ann has lived in Porto since 5 March 2026.", keeper.Change{}, "2026-03-05 to open"},
		{"a date with nothing that it is relative to", "Ann moved to Porto last week.", keeper.Change{}, "2025-01-01 to 2027-01-01"},
		{"a date relative to the message", "Ann moved to Porto last week.", keeper.Change{Source: &memory.Source{RecordIDs: []string{turn.ID}}}, "2026-04-13 to open"},
		{"a message and no date", "Ann lives in Porto.", keeper.Change{Source: &memory.Source{RecordIDs: []string{turn.ID}}}, "2025-01-01 to 2027-01-01"},
		{"what the change says counts", "Ann has lived in Porto since 5 March 2026.", keeper.Change{ValidFrom: ptr(date("2026-03-06"))}, "2026-03-06 to 2027-01-01"},
	} {
		old := h.keep(memory.Record{
			Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "Ann lives in Lisbon.",
			ValidFrom: date("2025-01-01"), ValidTo: date("2027-01-01"),
		})
		c.c.Text = &c.text
		got, err := h.Update(t.Context(), "p", old.ID, c.c)
		if err != nil {
			t.Fatal(err)
		}
		if interval(&got) != c.want {
			t.Errorf("%s: it holds %s, want %s", c.name, interval(&got), c.want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// story is what is found out of Ann over some months: a change, corrections of
// what is said and of when it was, what is to come, and two who disagree.
func story(h *home) {
	h.Helper()
	on := func(day string) { h.now = date(day) }
	write := func(topic, text, from, to string) memory.Record {
		r := memory.Record{Namespace: "/actors/ann/" + topic, Strategy: memory.Semantic, Text: text, ValidFrom: date(from)}
		if to != "" {
			r.ValidTo = date(to)
		}
		return h.keep(r)
	}
	update := func(r memory.Record, c keeper.Change) memory.Record {
		newer, err := h.Update(h.Context(), "p", r.ID, c)
		if err != nil {
			h.Fatal(err)
		}
		return newer
	}
	on("2026-01-10")
	work := write("work", "Ann works at Acme.", "2024-03-01", "")
	on("2026-02-01")
	work = update(work, keeper.Change{Text: ptr("Ann works at Globex."), ValidFrom: ptr(date("2026-01-20"))})
	on("2026-02-15")
	update(work, keeper.Change{Text: ptr("Ann works at Globex as an engineer.")})

	on("2026-03-01")
	paris := write("home", "Ann lived in Paris.", "2019-06-01", "2025-09-01")
	berlin := write("home", "Ann lives in Berlin.", "2025-09-01", "")
	on("2026-04-01")
	update(paris, keeper.Change{ValidTo: ptr(date("2025-10-01"))})
	update(berlin, keeper.Change{ValidFrom: ptr(date("2025-10-01"))})

	on("2026-04-10")
	h.keep(memory.Record{Namespace: "/actors/ann/plans", Strategy: memory.Semantic, Text: "Ann will marry on 12 September 2026."})
	write("diet", "Ann eats meat, Bob says.", "2026-01-01", "")
	on("2026-04-11")
	write("diet", "Ann eats no meat, Eve says.", "2026-01-01", "")
	on("2026-05-01")
}

// TestAsOf asks what was believed and what was true at some time.
func TestAsOf(t *testing.T) {
	const acme, globex, engineer = "Ann works at Acme.", "Ann works at Globex.", "Ann works at Globex as an engineer."
	const paris, berlin = "Ann lived in Paris.", "Ann lives in Berlin."
	const wedding = "Ann will marry on 12 September 2026."
	const meat, noMeat = "Ann eats meat, Bob says.", "Ann eats no meat, Eve says."
	cases := []struct {
		topic        string
		known, valid string
		superseded   bool
		want         []string
	}{
		{"work", "", "", false, []string{engineer}},
		{"work", "2026-01-09", "", false, nil},
		{"work", "2026-01-10", "", false, []string{acme}},
		{"work", "2026-01-31", "", false, []string{acme}},
		{"work", "2026-02-01", "", false, []string{globex}},
		{"work", "2026-02-14", "", false, []string{globex}},
		{"work", "2026-02-15", "", false, []string{engineer}},
		{"work", "2027-01-01", "", false, []string{engineer}},
		{"work", "", "2024-02-29", false, nil},
		{"work", "", "2026-01-19", false, nil},
		{"work", "", "2026-01-19", true, []string{acme}},
		{"work", "", "2026-01-20", false, []string{engineer}},
		{"work", "", "2026-01-20", true, []string{acme, globex, engineer}},
		{"work", "2026-01-15", "2025-01-01", false, []string{acme}},
		{"work", "2026-01-15", "2024-02-29", false, nil},
		{"work", "2026-02-10", "2025-01-01", false, nil},
		{"work", "2026-02-10", "2025-01-01", true, []string{acme}},
		{"work", "2026-02-10", "2026-01-25", false, []string{globex}},
		{"work", "", "", true, []string{acme, globex, engineer}},
		{"work", "2026-02-10", "", true, []string{acme, globex}},
		{"work", "2026-01-01", "", true, nil},

		{"home", "", "", false, []string{paris, berlin}},
		{"home", "2026-02-28", "", false, nil},
		{"home", "", "2019-05-31", false, nil},
		{"home", "", "2019-06-01", false, []string{paris}},
		{"home", "", "2025-09-15", false, []string{paris}},
		{"home", "2026-03-15", "2025-09-15", false, []string{berlin}},
		{"home", "2026-03-15", "2025-08-31", false, []string{paris}},
		{"home", "2026-03-31", "2025-09-01", false, []string{berlin}},
		{"home", "2026-04-01", "2025-09-01", false, []string{paris}},
		{"home", "", "2025-09-30", false, []string{paris}},
		{"home", "", "2025-10-01", false, []string{berlin}},
		{"home", "", "2030-01-01", false, []string{berlin}},
		{"home", "", "2025-09-15", true, []string{paris, berlin}},

		{"plans", "", "", false, []string{wedding}},
		{"plans", "", "2026-09-11", false, nil},
		{"plans", "", "2026-09-12", false, []string{wedding}},
		{"plans", "2026-04-09", "2026-09-12", false, nil},
		{"plans", "2026-04-10", "2026-09-12", false, []string{wedding}},

		{"diet", "", "", false, []string{meat, noMeat}},
		{"diet", "2026-04-10", "", false, []string{meat}},
		{"diet", "", "2026-02-01", false, []string{meat, noMeat}},
		{"diet", "2026-04-10", "2026-02-01", false, []string{meat}},
		{"diet", "", "2025-12-31", false, nil},
	}
	onBoth(t, func(h *home) {
		story(h)
		for _, c := range cases {
			q := memory.Query{Text: "What is known of Ann, where does she live, work, eat, marry?", Namespaces: []string{"/actors/ann/" + c.topic}, Superseded: c.superseded}
			if c.known != "" {
				q.KnownAt = date(c.known)
			}
			if c.valid != "" {
				q.ValidAt = date(c.valid)
			}
			got := h.ask(q)
			slices.Sort(got)
			want := slices.Sorted(slices.Values(c.want))
			if !slices.Equal(got, want) {
				h.Errorf("%s, known at %q, true at %q, superseded %t: %q, want %q", c.topic, c.known, c.valid, c.superseded, got, want)
			}
		}
	})
}

// TestClocksOfNodes updates a record on a node whose clock is an hour behind that
// of the one that wrote it: at any time there is one that was believed.
func TestClocksOfNodes(t *testing.T) {
	onBoth(t, func(h *home) {
		h.now = date("2026-05-01").Add(time.Hour)
		old := h.fact("Ann likes tea.")
		h.now = date("2026-05-01")
		newer, err := h.Update(h.Context(), "p", old.ID, keeper.Change{Text: ptr("Ann likes coffee.")})
		if err != nil {
			h.Fatal(err)
		}
		if !newer.RecordedAt.Equal(old.RecordedAt) {
			h.Errorf("the newer version was recorded at %s, the older one at %s", newer.RecordedAt, old.RecordedAt)
		}
		for _, at := range []time.Time{old.RecordedAt, old.RecordedAt.Add(time.Second)} {
			if got := h.ask(memory.Query{Text: "What does Ann like?", KnownAt: at}); !slices.Equal(got, []string{"Ann likes coffee."}) {
				h.Errorf("believed at %s was %q", at, got)
			}
		}
	})
}

// TestOneContradictionWins lets many correct one record at the same time.
func TestOneContradictionWins(t *testing.T) {
	onBoth(t, func(h *home) {
		old := h.fact("Ann lives in Paris.")
		const writers = 6
		errs := make([]error, writers)
		together(writers, func(i int) {
			_, errs[i] = h.Update(h.Context(), "p", old.ID, keeper.Change{Text: ptr(fmt.Sprintf("Ann lives in house %d.", i))})
		})
		won := -1
		for i, err := range errs {
			var superseded *keeper.SupersededError
			switch {
			case err == nil && won < 0:
				won = i
			case !errors.As(err, &superseded):
				h.Errorf("correction %d: %v, want that it was superseded", i, err)
			}
		}
		if got := h.ask(memory.Query{Text: "Where does Ann live?"}); !slices.Equal(got, []string{fmt.Sprintf("Ann lives in house %d.", won)}) {
			h.Errorf("found %q, correction %d was taken", got, won)
		}
	})
}
