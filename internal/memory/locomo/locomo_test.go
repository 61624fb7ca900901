package locomo_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory/locomo"
)

func tiny(t *testing.T) ([]locomo.Conversation, locomo.Notes) {
	t.Helper()
	f, err := os.Open("testdata/tiny.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	conversations, notes, err := locomo.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return conversations, notes
}

func TestRead(t *testing.T) {
	t.Parallel()
	got, notes := tiny(t)
	may, june, july := time.Date(2024, 5, 8, 13, 56, 0, 0, time.UTC), time.Date(2024, 6, 3, 11, 5, 0, 0, time.UTC), time.Date(2024, 7, 1, 0, 0, 0, 0, time.UTC)
	want := []locomo.Conversation{{
		ID: "conv-tiny", Speakers: []string{"Ilse", "Marek"},
		Turns: []locomo.Turn{
			{ID: "D1:1", Speaker: "Ilse", Text: "I am taking up pottery. [shares a picture: a photo of a wheel]", Session: 1, At: may},
			{ID: "D1:2", Speaker: "Marek", Text: "Then you may use my kiln.", Session: 1, At: may},
			{ID: "D1:3", Speaker: "Ilse", Text: "My brother Jonas will drive me.", Session: 1, At: may},
			{ID: "D2:1", Speaker: "Marek", Text: "The kiln cracked yesterday.", Session: 2, At: june},
			{ID: "D2:2", Speaker: "Ilse", Text: "[shares a picture: a photo of a blue bowl]", Session: 2, At: june},
			{ID: "D10:1", Speaker: "Ilse", Text: "The bowl sold at the market.", Session: 10, At: july},
		},
		Questions: []locomo.Question{
			{Text: "Whose kiln did Ilse use, and what became of it?", Answer: "Marek's; it cracked", Category: locomo.MultiHop, Evidence: []string{"D1:2", "D2:1"}},
			{Text: "When did the kiln crack?", Answer: "2 June, 2024", Category: locomo.Temporal, Evidence: []string{"D2:1"}},
			{Text: "In which year did Ilse begin?", Answer: "2024", Category: locomo.Temporal, Evidence: []string{"D1:1"}},
			{Text: "Would Ilse like a car of her own?", Answer: "Likely", Category: locomo.OpenDomain, Evidence: []string{"D1:3", "D10:1", "D1:1", "D2:2"}},
			{Text: "Who drives Ilse?", Answer: "Jonas", Category: locomo.SingleHop, Evidence: []string{"D1:3"}},
			{Text: "What is Marek's trade?", Answer: "Unclear", Category: locomo.SingleHop},
			{Text: "What did Marek sell at the market?", Category: locomo.Adversarial, Evidence: []string{"D10:1"}},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := (locomo.Notes{Questions: 7, Counted: 5, Adversarial: 1, WithoutEvidence: 1, DroppedEvidence: 2}); notes != want {
		t.Errorf("notes %+v, want %+v", notes, want)
	}
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	conversations, _ := tiny(t)
	asked := 0
	// It always finds the same: two turns first, a third in the sixth place.
	result, err := locomo.Evaluate(t.Context(), conversations, func(_ context.Context, c *locomo.Conversation, question string, k int) (locomo.Found, error) {
		if c.ID != "conv-tiny" || question == "" || k != 20 {
			t.Errorf("asked %q of %s for %d", question, c.ID, k)
		}
		asked++
		return locomo.Found{IDs: []string{"D2:1", "D1:3", "fact", "D2:1", "", "D1:1"}, ContextTokens: 10 * asked}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	// By question: multi-hop 1/2 at once; temporal 1 at once, and 0, then 1 at 10;
	// open-domain 0, 1/4 at 5, 2/4 at 10; single-hop 0, then 1 at 5.
	want := `{
 "questions": 5,
 "recall_at": {
  "1": 0.3,
  "10": 0.8,
  "20": 0.8,
  "5": 0.55
 },
 "by_category": {
  "multi-hop": {
   "questions": 1,
   "recall_at": {
    "1": 0.5,
    "10": 0.5,
    "20": 0.5,
    "5": 0.5
   }
  },
  "open-domain": {
   "questions": 1,
   "recall_at": {
    "1": 0,
    "10": 0.5,
    "20": 0.5,
    "5": 0.25
   }
  },
  "single-hop": {
   "questions": 1,
   "recall_at": {
    "1": 0,
    "10": 1,
    "20": 1,
    "5": 1
   }
  },
  "temporal": {
   "questions": 2,
   "recall_at": {
    "1": 0.5,
    "10": 1,
    "20": 1,
    "5": 0.5
   }
  }
 },
 "context_tokens": 30,
 "conversations": 1
}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEvaluateFails(t *testing.T) {
	t.Parallel()
	conversations, _ := tiny(t)
	away := errors.New("the index is away")
	_, err := locomo.Evaluate(t.Context(), conversations, func(context.Context, *locomo.Conversation, string, int) (locomo.Found, error) {
		return locomo.Found{}, away
	})
	if !errors.Is(err, away) || !strings.HasPrefix(err.Error(), "conv-tiny: searching for question 1: ") {
		t.Errorf("the error is %v", err)
	}
	conversations[0].Questions = conversations[0].Questions[5:]
	if _, err := locomo.Evaluate(t.Context(), conversations, nil); err == nil || !strings.HasPrefix(err.Error(), "there is no question to count") {
		t.Errorf("the error is %v", err)
	}
}

func TestReadMalformed(t *testing.T) {
	t.Parallel()
	const turns = `"session_1_date_time": "1:56 pm on 8 May, 2024", "session_1": [{"speaker": "A", "dia_id": "D1:1", "text": "x"}]`
	for _, c := range []struct{ file, want string }{
		{``, "this is not a file of LoCoMo"},
		{`{"sample_id": "c"}`, "this is not a file of LoCoMo"},
		{`[]`, "the list of conversations is empty"},
		{`[{"sample_id": "c"}] []`, "there is more after the list"},
		{`[{"conversation": {}}]`, "conversation 1: it has no turns"},
		{`[{"sample_id": "c", "conversation": {"session_1": []}}]`, "c: session_1 has no session_1_date_time"},
		{`[{"sample_id": "c", "conversation": {"session_1": [], "session_1_date_time": "noon"}}]`, `c: session_1_date_time is "noon", and not like`},
		{`[{"sample_id": "c", "conversation": {"session_1": 3, "session_1_date_time": "1:56 pm on 8 May, 2024"}}]`, "c: session_1: it is no list of turns"},
		{`[{"sample_id": "c", "conversation": {"session_1": [{"dia_id": "one"}], "session_1_date_time": "1:56 pm on 8 May, 2024"}}]`, `c: session_1: turn 1: the dia_id is "one"`},
		{`[{"sample_id": "c", "conversation": {` + turns + `, "session_2_date_time": "1:56 pm on 9 May, 2024", "session_2": [{"dia_id": "D1:01"}]}}]`, "c: session_2: turn 1: the dia_id D1:01 is there twice"},
		{`[{"sample_id": "c", "conversation": {` + turns + `}, "qa": [{"question": "q", "category": 6}]}]`, "c: question 1: the category is 6"},
		{`[{"sample_id": "c", "conversation": {` + turns + `}, "qa": [{"question": "q", "category": 1, "answer": []}]}]`, "c: question 1: the answer is []"},
	} {
		_, _, err := locomo.Read(strings.NewReader(c.file))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("the error is %v\nwant %s\nof %s", err, c.want, c.file)
		}
	}
}

func FuzzRead(f *testing.F) {
	b, err := os.ReadFile("testdata/tiny.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Fuzz(func(t *testing.T, s string) {
		conversations, notes, err := locomo.Read(strings.NewReader(s))
		if err == nil && (len(conversations) == 0 || notes.Counted+notes.Adversarial+notes.WithoutEvidence != notes.Questions) {
			t.Errorf("%d conversations, %+v", len(conversations), notes)
		}
	})
}
