package locomo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Depths are the numbers of turns at which recall is counted.
func Depths() []int { return []int{1, 5, 10, 20} }

// Searcher finds the turns of a conversation that a question needs, the best
// first, at most k. It must not look at the questions of the conversation.
type Searcher func(ctx context.Context, c *Conversation, question string, k int) (Found, error)

// Found is what a searcher found.
type Found struct {
	IDs           []string // of turns; what is no turn takes a place all the same
	ContextTokens int      // of what a model would be given
}

// Recall is a mean over questions of the share of a question's evidence that is
// among the first turns found, by their number.
type Recall struct {
	Questions int                `json:"questions"`
	At        map[string]float64 `json:"recall_at"`
}

// Result is what a run measured. ContextTokens is the mean over questions at the
// largest depth.
type Result struct {
	Recall
	ByCategory    map[string]Recall `json:"by_category"`
	ContextTokens float64           `json:"context_tokens"`
	Conversations int               `json:"conversations"`
}

// Evaluate asks the searcher every question that is counted, one after the other.
func Evaluate(ctx context.Context, conversations []Conversation, search Searcher) (Result, error) {
	depth := slices.Max(Depths())
	sums, tokens := map[Category]*sum{}, 0
	for i := range conversations {
		c := &conversations[i]
		for j := range c.Questions {
			q := &c.Questions[j]
			if !q.Counted() {
				continue
			}
			found, err := search(ctx, c, q.Text, depth)
			if err != nil {
				return Result{}, fmt.Errorf("%s: searching for question %d: %w", c.ID, j+1, err)
			}
			if sums[q.Category] == nil {
				sums[q.Category] = &sum{shares: map[int]float64{}}
			}
			sums[q.Category].add(q, found.IDs)
			tokens += found.ContextTokens
		}
	}
	result := Result{ByCategory: map[string]Recall{}, Conversations: len(conversations)}
	total := &sum{shares: map[int]float64{}}
	for _, category := range Categories() {
		if s := sums[category]; s != nil {
			result.ByCategory[category.String()] = s.mean()
			total.merge(s)
		}
	}
	if total.questions == 0 {
		return Result{}, errors.New("there is no question to count: none has evidence and another category than 5")
	}
	result.Recall = total.mean()
	result.ContextTokens = float64(tokens) / float64(total.questions)
	return result, nil
}

// sum adds up shares of evidence, by depth.
type sum struct {
	questions int
	shares    map[int]float64
}

func (s *sum) add(q *Question, ids []string) {
	s.questions++
	for _, k := range Depths() {
		first, hits := ids[:min(k, len(ids))], 0
		for _, id := range q.Evidence {
			if slices.Contains(first, id) {
				hits++
			}
		}
		s.shares[k] += float64(hits) / float64(len(q.Evidence))
	}
}

func (s *sum) merge(o *sum) {
	s.questions += o.questions
	for k, v := range o.shares {
		s.shares[k] += v
	}
}

func (s *sum) mean() Recall {
	r := Recall{Questions: s.questions, At: map[string]float64{}}
	for k, v := range s.shares {
		r.At[strconv.Itoa(k)] = v / float64(s.questions)
	}
	return r
}
