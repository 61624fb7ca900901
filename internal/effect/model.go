package effect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
)

const (
	// attemptsPerModel is how often one model is tried before its fallback is.
	attemptsPerModel = 3
	// lastAttempts is how often the last one is tried: with the waits between,
	// for about half a minute.
	lastAttempts = 8
)

// candidate is the model that an attempt is made with.
func candidate(cands []model.Candidate, attempt int) (model.Candidate, int) {
	i := min((attempt-1)/attemptsPerModel, len(cands)-1)
	return cands[i], i
}

func (p *Performer) callModel(ctx context.Context, job Job) Outcome {
	started := p.Now()
	cand, resp, out := p.generate(ctx, job, p.deltas(job))
	if out != nil || resp == nil {
		return out
	}
	respond := &event.ModelResponded{
		EffectID: job.ID, TurnID: job.TurnID, Attempt: job.Attempt, RequestHash: job.RequestHash,
		Model: cand.Name, ResponseID: resp.ID, Usage: resp.Usage, CostNanoUSD: cost(cand, resp.Usage),
		DurationMS: p.Now().Sub(started).Milliseconds(),
	}
	return func(s *session.State) []event.Payload {
		respond.Items = s.Bind(s.Current(), resp.Items)
		return []event.Payload{respond}
	}
}

func (p *Performer) compact(ctx context.Context, job Job) Outcome {
	cand, resp, out := p.generate(ctx, job, nil)
	if out != nil || resp == nil {
		return out
	}
	var text strings.Builder
	for i := range resp.Items {
		if resp.Items[i].Type == event.ItemMessage {
			text.WriteString(resp.Items[i].Text())
		}
	}
	if text.Len() == 0 {
		return record(&event.EffectFailed{
			EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt, Code: "server_error",
			Message: "The model was asked for a summary of the conversation and gave none.",
		})
	}
	return record(&event.ContextCompacted{
		EffectID: job.ID, TurnID: job.TurnID, Model: cand.Name, Usage: resp.Usage, CostNanoUSD: cost(cand, resp.Usage),
		Item: event.Item{
			Type: event.ItemCompaction, ID: event.DeriveID("item", job.ID), Status: event.StatusCompleted, Covers: job.Covers,
			Content: []event.Content{{Type: event.PartSummaryText, Text: text.String()}},
		},
	})
}

// generate makes one attempt. Where it fails, the outcome says so; all that it
// returns is nil where it was stopped.
func (p *Performer) generate(ctx context.Context, job Job, emit func(model.Delta)) (model.Candidate, *model.Response, Outcome) {
	cands, err := p.Catalog.Resolve(job.Model)
	if err != nil {
		return model.Candidate{}, nil, record(&event.EffectFailed{
			EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt, Code: "resource_not_found", Message: err.Error(),
		})
	}
	cand, i := candidate(cands, job.Attempt)
	req := *job.Request
	req.Model = cand.ID
	resp, err := cand.Model.Generate(ctx, &req, emit)
	if err == nil && resp == nil {
		err = errors.New("the model returned neither an answer nor an error")
	}
	if err == nil {
		return cand, resp, nil
	}
	if ctx.Err() != nil {
		return cand, nil, nil
	}
	return cand, nil, p.modelFailed(job, cand, i, len(cands), err)
}

// modelFailed says what is next: the same model again, a fallback, or no more.
func (p *Performer) modelFailed(job Job, cand model.Candidate, i, n int, err error) Outcome {
	var me *model.Error
	if !errors.As(err, &me) {
		me = &model.Error{Code: "internal_error", Message: err.Error()}
	}
	fail := &event.EffectFailed{
		EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt,
		Code: me.Code, Message: fmt.Sprintf("%s: %s", cand.Name, me.Message),
	}
	lastOfModel := (i + 1) * attemptsPerModel
	if i+1 == n {
		lastOfModel = i*attemptsPerModel + lastAttempts
	}
	switch {
	case me.Retry && job.Attempt < lastOfModel:
		fail.RetryAt = p.retryAt(job.Attempt-i*attemptsPerModel, me.RetryAfter)
	case i+1 < n && me.Code != session.CodeContextLength:
		// The next attempt is the first of the fallback.
		fail.Attempt = lastOfModel
		now := p.Now().UTC()
		fail.RetryAt = &now
	}
	return record(fail)
}

func cost(cand model.Candidate, u event.Usage) int64 {
	if cand.Price == nil {
		return 0
	}
	return cand.Price.Cost(u)
}

// deltas hands the pieces of an answer to whoever follows the session.
func (p *Performer) deltas(job Job) func(model.Delta) {
	counts := map[int]int{}
	return func(d model.Delta) {
		kind := feed.TextDelta
		if d.Kind == model.ReasoningDelta {
			kind = feed.ReasoningDelta
		}
		p.Feed.Delta(job.Session, feed.Delta{
			Kind: kind, TurnID: job.TurnID, ItemID: session.ItemID(job.Session, job.TurnID, job.Step+1, d.Index),
			OutputIndex: job.Outputs + d.Index, Part: d.Part, N: counts[d.Index], Text: d.Text,
		})
		counts[d.Index]++
	}
}

// Reserve says what a model call may cost at most and holds it against what the
// session may still spend. It returns the intention to write, or the end of the
// turn, or of the effect where it is of no turn, where the call could cost more
// than that. The call's output is limited to
// what is left.
func (p *Performer) Reserve(s *session.State, job *Job, epoch int64) event.Payload {
	fail := func(code, message string) event.Payload {
		if job.TurnID == "" {
			return &event.EffectFailed{EffectID: job.ID, What: job.What, Attempt: job.Attempt, Code: code, Message: message}
		}
		return &event.TurnEnded{TurnID: job.TurnID, Status: session.TurnFailed, Error: &event.TurnError{Code: code, Message: message}}
	}
	cands, err := p.Catalog.Resolve(job.Model)
	if err != nil {
		return fail("resource_not_found", err.Error())
	}
	cand, _ := candidate(cands, job.Attempt)
	if cand.Price == nil {
		return fail("invalid_request", fmt.Sprintf("The session has a spend limit and no price is known for %s. Add its price to the models file.", cand.Name))
	}
	left := *s.SpendLimit*nanoPerCent - s.CostNanoUSD - s.Reserved()
	input := inputCost(s, job, cand.Price)
	output := reservedOutput(cand.Price, left-input)
	if job.TurnID == "" {
		// What no turn waits for leaves the rest to the turns.
		output = min(extractionOutput, reservedOutput(cand.Price, left/4-input))
	}
	if left <= 0 || output < minOutput {
		return fail("session_budget_exceeded", fmt.Sprintf("The session has spent %d of %d cents, and the next model call could go beyond that.", s.SpentCents(), *s.SpendLimit))
	}
	job.Request.MaxOutputTokens = output
	return &event.EffectStarted{
		EffectID: job.ID, What: job.What, TurnID: job.TurnID, Class: event.Pure, Attempt: job.Attempt, Epoch: epoch,
		ReservedNanoUSD: input + cand.Price.Cost(event.Usage{OutputTokens: output}),
	}
}

// inputCost is what the input of a model call costs.
func inputCost(s *session.State, job *Job, price *model.Price) int64 {
	if job.What == event.EffectExtract {
		n := extractionTokens
		for i := range job.Memory.Said {
			n += len(job.Memory.Said[i].text) / bytesPerToken
		}
		return price.Cost(event.Usage{InputTokens: int64(n)})
	}
	return price.Cost(event.Usage{InputTokens: s.ContextTokens() + toolTokens(job.Request)})
}

// keepToReserved limits the output of a model call to what was reserved for it by
// an intention whose call was not made.
func (p *Performer) keepToReserved(s *session.State, job *Job, reserved int64) {
	cands, err := p.Catalog.Resolve(job.Model)
	if err != nil || reserved == 0 {
		return // the call will say so; or nothing was to be reserved
	}
	if cand, _ := candidate(cands, job.Attempt); cand.Price != nil {
		job.Request.MaxOutputTokens = reservedOutput(cand.Price, reserved-inputCost(s, job, cand.Price))
	}
}

const (
	nanoPerCent = 10_000_000
	// maxOutput is the output that is reserved where the budget allows for more,
	// minOutput the least that a call is worth.
	maxOutput = 16_384
	minOutput = 64
	// extractionOutput is the longest answer of an extraction.
	extractionOutput = 2048
)

// reservedOutput is how many tokens of output the rest of a budget pays for.
func reservedOutput(price *model.Price, nano int64) int64 {
	if nano < 0 {
		return 0
	}
	one := price.Cost(event.Usage{OutputTokens: 1_000_000})
	if one == 0 {
		return maxOutput
	}
	return min(maxOutput, int64(float64(nano)/float64(one)*1e6))
}

func toolTokens(req *model.Request) int64 {
	n := len(req.Instructions)
	for i := range req.Tools {
		n += len(req.Tools[i].Description) + len(req.Tools[i].Parameters)
	}
	return int64(n) / 4
}
