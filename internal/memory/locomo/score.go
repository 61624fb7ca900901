package locomo

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Model replies to a prompt.
type Model func(ctx context.Context, p Prompt) (reply string, err error)

// Accuracy is how many questions were answered as they should be.
type Accuracy struct {
	Questions int     `json:"questions"`
	Correct   int     `json:"correct"` // by the judge
	Share     float64 `json:"share"`
	F1        float64 `json:"f1"` // mean TokenF1 of the answers
	// Ungraded is how many answers the judge said nothing about that can be read.
	// They are not correct.
	Ungraded int `json:"ungraded"`
}

// Answers is what the answers of a model were worth, under these versions of the
// prompts.
type Answers struct {
	Accuracy
	ByCategory   map[string]Accuracy `json:"by_category"`
	AnswerPrompt string              `json:"answer_prompt"`
	JudgePrompt  string              `json:"judge_prompt"`
}

// askedAtOnce is how many questions are answered at once.
const askedAtOnce = 4

// Answer has a model answer every question that is counted from the context that
// memory has for it, and a judge grade each answer.
func Answer(ctx context.Context, conversations []Conversation, contextOf func(ctx context.Context, c *Conversation, question string) (string, error), answer, judge Model) (Answers, error) {
	out := Answers{ByCategory: map[string]Accuracy{}, AnswerPrompt: AnswerPrompt, JudgePrompt: JudgePrompt}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askedAtOnce)
	for i := range conversations {
		c := &conversations[i]
		for j := range c.Questions {
			q := &c.Questions[j]
			if !q.Counted() {
				continue
			}
			excerpts, err := contextOf(ctx, c, q.Text)
			if err != nil {
				return out, fmt.Errorf("%s: searching for question %d: %w", c.ID, j+1, err)
			}
			g.Go(func() error {
				one, err := grade(ctx, c, q, excerpts, answer, judge)
				if err != nil {
					return fmt.Errorf("%s: question %d: %w", c.ID, j+1, err)
				}
				mu.Lock()
				defer mu.Unlock()
				out.Accuracy = out.with(one)
				out.ByCategory[q.Category.String()] = out.ByCategory[q.Category.String()].with(one)
				return nil
			})
		}
	}
	return out, g.Wait()
}

func grade(ctx context.Context, c *Conversation, q *Question, excerpts string, answer, judge Model) (Accuracy, error) {
	reply, err := answer(ctx, Ask(c, excerpts, q.Text))
	if err != nil {
		return Accuracy{}, fmt.Errorf("answer: %w", err)
	}
	said := ReadAnswer(reply)
	one := Accuracy{Questions: 1, F1: TokenF1(said, q.Answer)}
	if reply, err = judge(ctx, Judge(q, said)); err != nil {
		return one, fmt.Errorf("judge: %w", err)
	}
	switch correct, err := ReadVerdict(reply); {
	case err != nil:
		one.Ungraded = 1
	case correct:
		one.Correct = 1
	}
	return one, nil
}

// with is both together.
func (a Accuracy) with(b Accuracy) Accuracy {
	n := a.Questions + b.Questions
	f1 := (a.F1*float64(a.Questions) + b.F1*float64(b.Questions)) / float64(n)
	correct := a.Correct + b.Correct
	return Accuracy{Questions: n, Correct: correct, Share: float64(correct) / float64(n), F1: f1, Ungraded: a.Ungraded + b.Ungraded}
}
