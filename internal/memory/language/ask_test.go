package language_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory/language"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 5, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		question string
		when     bool
		times    []string // from and to
	}{
		{"When did Ada move to Lisbon?", true, nil},
		{"How long has Bela had a dog?", true, nil},
		{"How often do they swim?", true, nil},
		{"In which month was the race?", true, nil},
		{"How did she feel when it rained?", true, nil},
		{"Whenever is not a question of time", false, nil},
		{"Where is the harbour?", false, nil},
		{"What did Ada do in March?", false, []string{"2023-03-01 2023-04-01"}},
		{"What did Ada do in March 2024?", false, []string{"2024-03-01 2024-04-01"}},
		{"What will Ada do in March?", false, []string{"2024-03-01 2024-04-01"}},
		{"What happened on 3 January?", false, []string{"2024-01-03 2024-01-04"}},
		{"What happened yesterday, and in 2022?", false, []string{"2024-01-04 2024-01-05", "2022-01-01 2023-01-01"}},
	} {
		got := language.Ask(tt.question, at)
		if got.When != tt.when {
			t.Errorf("%q asks for a time: %t", tt.question, got.When)
		}
		var times []string
		for _, m := range got.Times {
			times = append(times, m.From.Format(time.DateOnly)+" "+m.To.Format(time.DateOnly))
		}
		if diff := cmp.Diff(tt.times, times); diff != "" {
			t.Errorf("%q: %s", tt.question, diff)
		}
	}
	if got := language.Ask("What did Ada do in March, and in 2021?", time.Time{}); len(got.Times) != 1 || got.Times[0].Words != "2021" {
		t.Errorf("without a date the question names %+v", got.Times)
	}
}
