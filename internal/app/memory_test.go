package app_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestMemoriesOutliveTheProcess has memories that were written, replaced and
// forgotten before the runtime was started again.
func TestMemoriesOutliveTheProcess(t *testing.T) {
	cfg := config(t)
	n := start(t, cfg)
	var paris, bob struct{ ID string }
	n.must(&paris, "POST", "/v1/memories", `{"text":"Ann lives in Paris.","actor":"ann"}`, "Idempotency-Key", "k")
	n.must(nil, "POST", "/v1/memories/"+paris.ID, `{"text":"Ann lives in Rome."}`)
	n.must(&bob, "POST", "/v1/memories", `{"text":"Bob lives in Oslo.","actor":"bob"}`)
	n.must(nil, "DELETE", "/v1/memories/"+bob.ID, "")
	n.must(nil, "POST", "/v1/memories/rules", `{"namespace":"/actors/ann","hold":true,"reason":"case 7"}`)
	receipts := n.do("GET", "/v1/memories/receipts", "")
	n.stop()

	n = start(t, cfg)
	for search, want := range map[string]string{
		`{"text":"Where does Ann live?","actor":"ann"}`:                             `"context":"[1] Ann lives in Rome.\n"`,
		`{"text":"Where does Bob live?","actor":"bob"}`:                             `"context":""`,
		`{"text":"Ann Paris","namespaces":["/"],"superseded":true,"max_tokens":1}`:  `"Ann lives in Paris."`,
		`{"text":"Where does Ann live?","actor":"ann","known_at":"2020-01-01"}`:     `"context":""`,
		`{"text":"Where does Ann live?","actor":"ann","strategies":["preference"]}`: `"context":""`,
	} {
		if got := n.do("POST", "/v1/memories/search", search); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("search %s: %s, want %s", search, got, want)
		}
	}
	var again struct{ ID string }
	n.must(&again, "POST", "/v1/memories", `{"text":"Ann lives in Paris.","actor":"ann"}`, "Idempotency-Key", "k")
	if again.ID != paris.ID {
		t.Errorf("the same Idempotency-Key wrote %s and %s", paris.ID, again.ID)
	}
	if got := n.do("GET", "/v1/memories/receipts", ""); got.body != receipts.body || !strings.Contains(got.body, `"class":"record"`) {
		t.Errorf("the receipts are %s, and were %s", got, receipts)
	}
	if got := n.do("POST", "/v1/memories/forget", `{"actor":"ann"}`); got.status != 409 {
		t.Errorf("what was held before is forgotten: %s", got)
	}
}

// TestManyWriters has many clients write about one actor at once: each finds what
// it wrote as soon as it is told that it is there.
func TestManyWriters(t *testing.T) {
	n := start(t, config(t))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 8 {
				word := fmt.Sprintf("w%dx%d", i, j)
				write, err := n.try(t.Context(), "POST", "/v1/memories", `{"text":"The word is `+word+`.","actor":"ann"}`)
				if err != nil || write.status != 200 {
					t.Errorf("write %s: %s, %v", word, write, err)
					return
				}
				found, err := n.try(t.Context(), "POST", "/v1/memories/search", `{"text":"`+word+`","actor":"ann","limit":1}`)
				if err != nil || found.status != 200 || !strings.Contains(found.body, "The word is "+word+".") {
					t.Errorf("search %s: %s, %v", word, found, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(all[struct{ ID string }](n, "/v1/memories?actor=ann&limit=100")); got != 128 {
		t.Errorf("there are %d memories, want 128", got)
	}
}
