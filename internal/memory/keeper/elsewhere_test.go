package keeper_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
)

// What another process forgets and writes is in the next search of this one, as if
// it had never known anything else: no score tells of what is forgotten.
func TestOtherProcessesAreSeen(t *testing.T) {
	h := newHome(t)
	var gone []memory.Record
	for i := range 30 {
		h.fact(fmt.Sprintf("Box %d stands in the hall.", i))
		gone = append(gone, h.fact(fmt.Sprintf("Crate %d stands in the hall, and so does a lamp.", i)))
	}
	scores := func(k *keeper.Keeper) (list []string) {
		found, err := k.Search(t.Context(), memory.Query{Project: "p", Namespaces: []string{"/actors/ann"}, Text: "Which box or lamp is in the hall?", Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		for i := range found.Hits {
			list = append(list, fmt.Sprintf("%s %.9f", found.Hits[i].Text, found.Hits[i].Score))
		}
		return list
	}
	before, other := scores(h.Keeper), keeper.New(h.Config)
	for i := range gone {
		if _, err := other.Forget(t.Context(), "p", keeper.Selection{ID: gone[i].ID}, ""); err != nil {
			t.Fatal(err)
		}
	}
	got, want := scores(h.Keeper), scores(keeper.New(h.Config))
	if !slices.Equal(got, want) || slices.Equal(got, before) {
		t.Errorf("after another process forgot: %q\nwant %q\nbefore it did: %q", got, want, before)
	}
	if _, _, err := other.Write(t.Context(), "p", []memory.Record{{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "A lamp and a box are in the hall."}}); err != nil {
		t.Fatal(err)
	}
	if got, want := scores(h.Keeper), scores(keeper.New(h.Config)); !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("after another process wrote: %q\nwant %q", got, want)
	}
}
