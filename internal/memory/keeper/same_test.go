package keeper_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/pgtest"
)

const (
	sameRecords = 3000
	sameQueries = 200
)

// sameActors are whose records these are: a space each.
func sameActors() []string { return []string{"ann", "bob", "eve"} }

// sentence is one of some words, so that most words are in many sentences.
func sentence(rng *rand.Rand, words int) string {
	people := []string{"Ann", "Bob", "Eve", "Mallory", "Trent"}
	does := []string{"bought", "sold", "lost", "found", "painted", "repaired", "lent", "forgot"}
	things := []string{"boat", "bicycle", "guitar", "garden", "kitchen", "camera", "ticket", "passport", "violin", "tent", "lamp", "kettle"}
	where := []string{"Oslo", "Lisbon", "Porto", "Rome", "Bergen", "Paris", "Berlin", "Turin"}
	when := []string{"yesterday", "last week", "in May", "on 3 March 2025", "last Tuesday", "two months ago"}
	var b strings.Builder
	for b.Len() == 0 || words > 0 {
		fmt.Fprintf(&b, "%s %s a %s in %s %s. ", pick(rng, people), pick(rng, does), pick(rng, things), pick(rng, where), pick(rng, when))
		words -= 7
	}
	return strings.TrimSpace(b.String())
}

func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }

// fill writes records, corrects and forgets some, and searches in between, so
// that indexes are made of other pieces the more often it does.
func fill(h *home, searchEvery int) {
	h.Helper()
	rng := rand.New(rand.NewPCG(7, 11))
	var written []memory.Record
	for i := 0; len(written) < sameRecords; i++ {
		h.now = h.now.Add(time.Hour)
		actor := pick(rng, sameActors())
		batch := make([]memory.Record, 1+rng.IntN(40))
		for j := range batch {
			batch[j] = sameRecord(rng, h.now, actor, len(written)+j)
		}
		done, _, err := h.Write(h.Context(), "p", batch)
		if err != nil {
			h.Fatal(err)
		}
		written = append(written, done...)
		old := pick(rng, done)
		if _, err := h.Update(h.Context(), "p", old.ID, keeper.Change{Key: "k", Text: ptr(sentence(rng, 7))}); err != nil {
			h.Fatal(err)
		}
		if i%10 == 9 {
			if _, err := h.Forget(h.Context(), "p", keeper.Selection{ID: pick(rng, done).ID}, ""); err != nil {
				h.Fatal(err)
			}
		}
		if i%searchEvery == 0 {
			h.ask(memory.Query{Text: "boat", Namespaces: []string{"/"}})
		}
	}
}

func sameRecord(rng *rand.Rand, now time.Time, actor string, n int) memory.Record {
	space := "/actors/" + actor
	r := memory.Record{
		ID: memory.ID("p", space, strconv.Itoa(n)), Namespace: space + "/facts", Strategy: memory.Semantic, Actor: actor, Text: sentence(rng, 1+rng.IntN(30)),
		Metadata: map[string]string{"topic": pick(rng, []string{"home", "work", "travel"})}, ValidFrom: now.AddDate(0, 0, -rng.IntN(400)),
	}
	switch rng.IntN(3) {
	case 0:
		session := fmt.Sprintf("s%d", rng.IntN(20))
		r.Namespace, r.Strategy = space+"/sessions/"+session, memory.Turn
		r.Source = memory.Source{SessionID: session, Speaker: actor, Position: int64(n + 1)}
	case 1:
		r.Strategy, r.Origin = memory.Preference, pick(rng, []memory.Origin{memory.OriginUser, memory.OriginTool, memory.OriginOther})
	}
	return r
}

// sameQuery is a question with none, some or all of what can be asked for.
func sameQuery(rng *rand.Rand, now time.Time) memory.Query {
	q := memory.Query{Project: "p", Text: sentence(rng, 1), Namespaces: []string{"/"}, Limit: 10}
	if rng.IntN(2) == 0 {
		q.Text = "Who " + strings.ToLower(strings.Join(strings.Fields(q.Text)[1:5], " ")) + "?"
	}
	switch rng.IntN(4) {
	case 0:
		q.Namespaces = []string{"/actors/" + pick(rng, sameActors())}
	case 1:
		q.Namespaces = []string{"/actors/ann/facts", "/actors/bob/sessions"}
	}
	switch rng.IntN(8) {
	case 0:
		q.Filter.Strategies = []memory.Strategy{memory.Turn}
	case 1:
		q.Filter.Metadata = map[string]string{"topic": "work"}
	case 2:
		q.Filter.ExcludeForeign = true
	case 3:
		q.Filter.Since, q.Filter.Until = now.AddDate(0, 0, -200), now.AddDate(0, 0, -50)
	case 4:
		q.Filter.Actor, q.Superseded = pick(rng, sameActors()), true
	case 5:
		q.KnownAt = now.AddDate(0, 0, -2)
	case 6:
		q.ValidAt = now.AddDate(0, 0, -100)
	}
	return q
}

// TestSameOnBothStores asks both stores the same: the same records come back in
// the same order, and in the same words, though the indexes were made in other
// pieces.
func TestSameOnBothStores(t *testing.T) {
	lite, server := newHome(t), newHomeOn(t, openPostgres(t, pgtest.Start(t)))
	fill(lite, 5)
	fill(server, 13)
	if !lite.now.Equal(server.now) {
		t.Fatalf("the stores were filled until %s and %s: this test compares nothing", lite.now, server.now)
	}
	rng := rand.New(rand.NewPCG(3, 5))
	found, differ := 0, 0
	for range sameQueries {
		q := sameQuery(rng, lite.now)
		a, err := lite.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := server.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		found += len(a.Hits)
		if got, want := hitIDs(b.Hits), hitIDs(a.Hits); !slices.Equal(got, want) || a.Context != b.Context {
			differ++
			t.Logf("%+v:\nsqlite   %v\npostgres %v", q, want, got)
		}
	}
	if differ > 0 {
		t.Errorf("%d of %d questions have other answers", differ, sameQueries)
	}
	if found < 9*sameQueries {
		t.Errorf("%d questions found %d records, want 9 each or more", sameQueries, found)
	}
}

func hitIDs(hits []memory.Hit) []string {
	ids := make([]string, len(hits))
	for i := range hits {
		ids[i] = hits[i].ID
	}
	return ids
}
