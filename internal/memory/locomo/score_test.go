package locomo_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory/locomo"
)

// talks are two questions that count and one that does not.
func talks() []locomo.Conversation {
	return []locomo.Conversation{{
		ID: "c1", Speakers: []string{"Ana", "Ben"},
		Turns: []locomo.Turn{{ID: "D1:1", Speaker: "Ana", Text: "I moved to Lyon."}},
		Questions: []locomo.Question{
			{Text: "Where does Ana live?", Answer: "Lyon", Category: locomo.SingleHop, Evidence: []string{"D1:1"}},
			{Text: "When did she move?", Answer: "May 2026", Category: locomo.Temporal, Evidence: []string{"D1:1"}},
			{Text: "What did Ben say?", Category: locomo.Adversarial, Evidence: []string{"D1:1"}},
		},
	}}
}

func excerpts(_ context.Context, _ *locomo.Conversation, question string) (string, error) {
	return "excerpts for " + question, nil
}

func TestAnswer(t *testing.T) {
	answer := func(_ context.Context, p locomo.Prompt) (string, error) {
		if p.Version != "locomo-answer-1" || !strings.Contains(p.User, "excerpts for ") {
			t.Errorf("the model is asked %+v", p)
		}
		if strings.Contains(p.User, "Where does Ana live?") {
			return "Answer: in Lyon", nil
		}
		return "unknown", nil
	}
	judge := func(_ context.Context, p locomo.Prompt) (string, error) {
		switch {
		case p.Version != "locomo-judge-1":
			t.Errorf("the judge is asked by %q", p.Version)
		case strings.Contains(p.User, "Answer to grade: in Lyon"):
			return "CORRECT", nil
		}
		return "I cannot say.", nil
	}
	got, err := locomo.Answer(t.Context(), talks(), excerpts, answer, judge)
	if err != nil {
		t.Fatal(err)
	}
	want := locomo.Accuracy{Questions: 2, Correct: 1, Share: 0.5, F1: 1.0 / 3, Ungraded: 1}
	if got.Accuracy != want {
		t.Errorf("all: %+v, want %+v", got.Accuracy, want)
	}
	if one := got.ByCategory["single-hop"]; one.Questions != 1 || one.Correct != 1 || len(got.ByCategory) != 2 {
		t.Errorf("by category: %+v", got.ByCategory)
	}
}

func TestAnswerFails(t *testing.T) {
	down := errors.New("the model is down")
	model := func(context.Context, locomo.Prompt) (string, error) { return "", down }
	if _, err := locomo.Answer(t.Context(), talks(), excerpts, model, model); !errors.Is(err, down) || !strings.HasPrefix(err.Error(), "c1: question ") {
		t.Errorf("the error is %v", err)
	}
}
