package effect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/extract"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// extract has a model draw memories from what was said, and writes them. What an
// attempt before this one was stopped in, it goes on with.
func (p *Performer) extract(ctx context.Context, job Job) Outcome {
	extracted, left, err := p.drawn(ctx, &job)
	if err != nil {
		return p.notKept(ctx, job, err)
	}
	if len(left) == 0 {
		return record(extracted)
	}
	in, err := p.drawFrom(ctx, &job, left)
	if err != nil {
		return p.notKept(ctx, job, err)
	}
	if len(in.Lines) == 0 {
		return record(extracted)
	}
	request := extractionRequest(&in)
	request.EffectID, request.MaxOutputTokens, request.ServiceTier = job.ID, job.Request.MaxOutputTokens, job.Request.ServiceTier
	job.Request = request
	started := p.Now()
	cand, resp, out := p.generate(ctx, job, nil)
	if out != nil || resp == nil {
		return out
	}
	extracted.Model, extracted.Prompt, extracted.Usage, extracted.CostNanoUSD = cand.Name, extract.Prompt, resp.Usage, cost(cand, resp.Usage)
	drafts, dropped, err := in.Read(answerText(resp))
	if err != nil {
		// What the answer cost is counted all the same.
		extracted.Dropped = 1
		return record(extracted)
	}
	extracted.Dropped = dropped
	ids, err := p.writeDrawn(ctx, &job, drafts, cand.Name)
	var bad *keeper.BadRecordError
	switch {
	case errors.As(err, &bad):
		extracted.Dropped += len(drafts)
		return record(extracted)
	case err != nil:
		return paid(p.notKept(ctx, job, err), extracted)
	}
	extracted.MemoryIDs = append(extracted.MemoryIDs, ids...)
	extracted.DurationMS = p.Now().Sub(started).Milliseconds()
	return record(extracted)
}

// paid has the failure of an attempt count what the model's answer cost: the next one
// asks again.
func paid(out Outcome, answered *event.MemoryExtracted) Outcome {
	if out == nil {
		return nil
	}
	return func(s *session.State) []event.Payload {
		list := out(s)
		for _, p := range list {
			if failed, ok := p.(*event.EffectFailed); ok {
				failed.Usage, failed.CostNanoUSD = answered.Usage, answered.CostNanoUSD
			}
		}
		return list
	}
}

func answerText(resp *model.Response) string {
	var text strings.Builder
	for i := range resp.Items {
		if resp.Items[i].Type == event.ItemMessage {
			text.WriteString(resp.Items[i].Text())
		}
	}
	return text.String()
}

// extractionRequest is what the model is given.
func extractionRequest(in *extract.Input) *model.Request {
	return &model.Request{
		Instructions: in.Instructions(),
		Text:         event.Text{Format: "json_schema", Schema: in.Schema()},
		Items: []*event.Item{{
			Type: event.ItemMessage, ID: "conversation", Role: event.RoleUser, Status: event.StatusCompleted,
			Content: []event.Content{{Type: event.PartInputText, Text: in.Text()}},
		}},
	}
}

// drawnID is the id of the nth memory in the namespace that is drawn from what was
// said from an item on. It is the same for every attempt, whatever was said
// meanwhile, and for an effect that takes up what another gave up: of what several of
// them write, the first stays.
func drawnID(job *Job, namespace string, n int) string {
	return memory.ID(job.Project, memory.SpaceOf(namespace), "extract", job.Session, job.Memory.Said[0].itemID, namespace, strconv.Itoa(n))
}

// drawn reports what attempts before this one have written, and could not say any
// more, and which strategies are left to be drawn. A space is written whole or not at
// all, so that where it has something, that is all which is drawn into it; where it
// has nothing, the model's answer is lost, and it is asked about the same words.
func (p *Performer) drawn(ctx context.Context, job *Job) (*event.MemoryExtracted, []memory.Strategy, error) {
	done := &event.MemoryExtracted{EffectID: job.ID, Through: job.Memory.Through}
	if len(job.Memory.Said) == 0 {
		return done, nil, nil
	}
	looked, written := map[string]bool{}, map[string]bool{} // namespaces, and spaces
	spaces, from := map[memory.Strategy]string{}, map[string]bool{}
	for _, s := range strategies(job) {
		ns, err := job.placeOf(s)
		if err != nil {
			return nil, nil, err
		}
		spaces[s] = memory.SpaceOf(ns)
		for n := 0; !looked[ns]; n++ {
			r, err := p.Keeper.Get(ctx, job.Project, drawnID(job, ns, n))
			if errors.Is(err, store.ErrNotFound) {
				looked[ns] = true
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			done.MemoryIDs = append(done.MemoryIDs, r.ID)
			done.Model, done.Prompt = r.Source.Model, r.Source.Prompt
			written[r.Space] = true
			for _, item := range r.Source.ItemIDs {
				from[item] = true
			}
		}
	}
	job.Memory = job.Memory.until(from)
	done.Through = job.Memory.Through
	left := slices.DeleteFunc(strategies(job), func(s memory.Strategy) bool { return written[spaces[s]] })
	return done, left, nil
}

// until leaves what was said up to the last of the items, or all where none of them
// was. What comes after it comes the next time.
func (r *Recollection) until(items map[string]bool) *Recollection {
	last := len(r.Said) - 1
	for last >= 0 && !items[r.Said[last].itemID] {
		last--
	}
	if last < 0 || last == len(r.Said)-1 {
		return r
	}
	shorter := *r
	shorter.Said, shorter.Through = r.Said[:last+1], r.Said[last].itemID
	return &shorter
}

func strategies(job *Job) []memory.Strategy {
	out := make([]memory.Strategy, len(job.Memory.Settings.Strategies))
	for i, s := range job.Memory.Settings.Strategies {
		out[i] = memory.Strategy(s)
	}
	return out
}

const (
	// known is how many memories a model is shown that what was said may contradict.
	known = 20
	// extractionTokens is what they and the instructions take at most, about.
	extractionTokens = 6000
)

// drawFrom collects what the model is given, to draw memories of these strategies.
func (p *Performer) drawFrom(ctx context.Context, job *Job, left []memory.Strategy) (extract.Input, error) {
	in := extract.Input{Strategies: left, Actor: job.Memory.Actor}
	turns, err := job.placeOf(memory.Turn)
	if err != nil {
		return in, err
	}
	var words []string
	for i := range job.Memory.Said {
		m := &job.Memory.Said[i]
		line := extract.Line{
			ItemID: m.itemID, Who: m.who, Text: m.text, At: m.at, Origin: m.origin, RecordID: turnID(job.Project, turns, m.itemID, 0),
		}
		_, err := p.Keeper.Get(ctx, job.Project, line.RecordID)
		if errors.Is(err, store.ErrNotFound) {
			continue // it was forgotten, and nothing is drawn from it
		}
		if err != nil {
			return in, err
		}
		in.Lines = append(in.Lines, line)
		words = append(words, m.text)
	}
	var drawn []memory.Strategy
	for _, s := range in.Strategies {
		if s == memory.Summary {
			if in.Summary, err = p.summary(ctx, job); err != nil {
				return in, err
			}
			continue
		}
		drawn = append(drawn, s)
	}
	if len(words) == 0 || len(drawn) == 0 {
		return in, nil
	}
	query := strings.Join(words, "\n")
	q := memory.Query{Text: strings.ToValidUTF8(query[:min(len(query), maxQuery)], ""), Limit: known, MaxTokens: extractionTokens / 2}
	q.Filter.Strategies = drawn
	hits, err := p.search(ctx, job, q)
	for i := range hits {
		in.Known = append(in.Known, hits[i].Record)
	}
	return in, err
}

// summary returns the session's summary so far, or nil.
func (p *Performer) summary(ctx context.Context, job *Job) (*memory.Record, error) {
	ns, err := job.placeOf(memory.Summary)
	if err != nil {
		return nil, err
	}
	list, err := p.Keeper.List(ctx, store.MemoryQuery{
		Project: job.Project, Namespace: ns, Strategies: []memory.Strategy{memory.Summary}, SessionID: job.Session, Limit: 1,
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// writeDrawn gives the drafts their places and keeps them.
func (p *Performer) writeDrawn(ctx context.Context, job *Job, drafts []memory.Record, by string) ([]string, error) {
	count := map[string]int{}
	for i := range drafts {
		r := &drafts[i]
		ns, err := job.placeOf(r.Strategy)
		if err != nil {
			return nil, err
		}
		r.Namespace, r.ID = ns, drawnID(job, ns, count[ns])
		count[ns]++
		r.Source.SessionID, r.Source.Model = job.Session, by
	}
	for range attempts {
		if err := p.replaceable(ctx, job.Project, drafts); err != nil {
			return nil, err
		}
		written, _, err := p.Keeper.WriteFor(ctx, job.Project, job.Session, drafts)
		if errors.Is(err, store.ErrConflict) {
			continue // somebody else has superseded what a draft replaces
		}
		if err != nil {
			return nil, fmt.Errorf("write what was drawn: %w", err)
		}
		ids := make([]string, len(written))
		for i := range written {
			ids[i] = written[i].ID
		}
		return ids, nil
	}
	return nil, errors.New("write what was drawn: memories that it replaces were superseded by others again and again")
}

// replaceable lets a draft replace only what is there, in its space, and was not
// superseded by another.
func (p *Performer) replaceable(ctx context.Context, project string, drafts []memory.Record) error {
	for i := range drafts {
		r := &drafts[i]
		if r.Supersedes == "" {
			continue
		}
		old, err := p.Keeper.Get(ctx, project, r.Supersedes)
		switch {
		case errors.Is(err, store.ErrNotFound):
			r.Supersedes = ""
		case err != nil:
			return err
		case r.Origin.Foreign() && !old.Origin.Foreign():
			r.Supersedes = "" // foreign words stand beside trusted ones, and not in their place
		case memory.SpaceOf(r.Namespace) != old.Space || (old.SupersededBy != "" && old.SupersededBy != r.ID):
			r.Supersedes = ""
		}
	}
	return nil
}
