// Package script is a model.Model that plays a script: a YAML file that says
// what to answer to which request. It is for tests, demonstrations and recorded
// runs, and thinks nothing: an answer is a function of the file and the request.
// It owns the format of scripts and of recordings; it knows nothing of sessions.
package script

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// Script is one parsed file. It is a model.Model, whatever the name in the
// request, and safe for use by many goroutines.
type Script struct {
	name     string
	steps    []step
	recorded bool // some step is matched by the hash of the request
	attempts *attempts
}

// step is one answer and the conditions under which it is given.
type step struct {
	line     int
	when     []condition
	request  string       // SHA-256 of the request; empty where the step is not recorded
	recorded *fingerprint // of the recorded request
	reply    reply
}

// reply is what a step answers.
type reply struct {
	answers bool // it has an answer, which may have no items
	items   []replyItem
	fail    *failure
	delay   time.Duration
	stream  stream
	usage   usage
}

// stream says how the text of an answer is handed out.
type stream struct {
	chunk int // characters; 0 is a whole part at once
	delay time.Duration
}

// usage holds the token counts that a script states; nil ones are estimated.
type usage struct {
	input, cached, output, reasoning *int64
}

// replyItem is one item of an answer.
type replyItem struct {
	kind  string // event.ItemMessage, event.ItemReasoning or event.ItemFunctionCall
	texts []template
	phase string
	call  call
}

// call is a function call of an answer.
type call struct {
	name template
	id   string
	args arg
}

// failure is an error that a step gives in place of its answer.
type failure struct {
	err   model.Error
	times int // 0: always
}

var _ model.Model = (*Script)(nil)

// Generate gives the answer of the first step whose conditions hold. Where none
// does it fails with invalid_request and says which came nearest.
func (s *Script) Generate(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	v := newView(req)
	for i := range s.steps {
		st := &s.steps[i]
		if !st.matches(v) {
			continue
		}
		failed, err := s.failure(ctx, i, req)
		if failed {
			return nil, err
		}
		if !st.reply.answers {
			// It only fails, and has failed often enough: later steps answer.
			continue
		}
		resp, err := s.answer(i, v)
		if err != nil {
			return nil, err
		}
		if err := st.reply.play(ctx, resp, emit); err != nil {
			return nil, err
		}
		return resp, nil
	}
	return nil, s.noMatch(v)
}

// failure reports whether the step fails this attempt, and with what.
func (s *Script) failure(ctx context.Context, i int, req *model.Request) (bool, error) {
	r := &s.steps[i].reply
	if r.fail == nil {
		return false, nil
	}
	if r.fail.times > 0 && s.attempts.next(s.name+"\x00"+strconv.Itoa(i)+"\x00"+req.EffectID) > r.fail.times {
		return false, nil
	}
	if err := wait(ctx, r.delay); err != nil {
		return true, err
	}
	e := r.fail.err
	return true, &e
}

// answer builds the response of a step.
func (s *Script) answer(i int, v *view) (*model.Response, error) {
	st, req := &s.steps[i], v.req
	resp := &model.Response{
		ID:    event.DeriveID("resp", s.name, req.EffectID, strconv.Itoa(len(req.Items))),
		Model: "script/" + s.name,
		Items: make([]event.Item, 0, len(st.reply.items)),
	}
	for j := range st.reply.items {
		it, err := st.reply.items[j].build(v)
		if err != nil {
			return nil, &model.Error{Code: "invalid_request", Message: fmt.Sprintf("script/%s: step %d (line %d): %v", s.name, i+1, st.line, err)}
		}
		if it.Type == event.ItemFunctionCall && it.CallID == "" {
			it.CallID = event.DeriveID("call", s.name, req.EffectID, strconv.Itoa(len(req.Items)), strconv.Itoa(j))
		}
		resp.Items = append(resp.Items, it)
	}
	resp.Usage = st.reply.usage.of(req, resp)
	return resp, nil
}

// build renders one item.
func (r *replyItem) build(v *view) (event.Item, error) {
	it := event.Item{Type: r.kind}
	if r.kind == event.ItemFunctionCall {
		name, err := r.call.name.render(v)
		if err != nil {
			return it, err
		}
		args, err := r.call.args.appendJSON(nil, v)
		if err != nil {
			return it, fmt.Errorf("arguments of %s: %w", name, err)
		}
		it.Name, it.CallID, it.Arguments = name, r.call.id, args
		return it, nil
	}
	part := event.PartOutputText
	if r.kind == event.ItemReasoning {
		part = event.PartSummaryText
	}
	parts := make([]event.Content, len(r.texts))
	for i := range r.texts {
		text, err := r.texts[i].render(v)
		if err != nil {
			return it, err
		}
		parts[i] = event.Content{Type: part, Text: text}
	}
	if r.kind == event.ItemReasoning {
		it.Summary = parts
		return it, nil
	}
	it.Role, it.Phase, it.Content = event.RoleAssistant, r.phase, parts
	return it, nil
}

// play waits as the reply says, and hands the answer's text out in pieces.
func (r *reply) play(ctx context.Context, resp *model.Response, emit func(model.Delta)) error {
	if err := wait(ctx, r.delay); err != nil {
		return err
	}
	for i := range resp.Items {
		kind, parts := model.TextDelta, resp.Items[i].Content
		if resp.Items[i].Type == event.ItemReasoning {
			kind, parts = model.ReasoningDelta, resp.Items[i].Summary
		}
		for j := range parts {
			d := model.Delta{Kind: kind, Index: i, Part: j}
			if err := r.stream.play(ctx, parts[j].Text, d, emit); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (s stream) play(ctx context.Context, text string, d model.Delta, emit func(model.Delta)) error {
	for text != "" {
		if err := wait(ctx, s.delay); err != nil {
			return err
		}
		n := len(text)
		if s.chunk > 0 {
			n = prefix(text, s.chunk)
		}
		if emit != nil {
			d.Text = text[:n]
			emit(d)
		}
		text = text[n:]
	}
	return nil
}

// prefix is the number of bytes of the first n characters of s.
func prefix(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// of counts the tokens of a call: what the script states, else a token for
// every four bytes, rounded up.
func (u *usage) of(req *model.Request, resp *model.Response) event.Usage {
	in := len(req.Instructions)
	for _, it := range req.Items {
		in += size(it)
	}
	for i := range req.Tools {
		in += len(req.Tools[i].Name) + len(req.Tools[i].Description) + len(req.Tools[i].Parameters)
	}
	out := 0
	for i := range resp.Items {
		out += size(&resp.Items[i])
	}
	got := event.Usage{InputTokens: int64(in+3) / 4, OutputTokens: int64(out+3) / 4}
	for _, f := range []struct {
		stated *int64
		to     *int64
	}{{u.input, &got.InputTokens}, {u.cached, &got.CachedTokens}, {u.output, &got.OutputTokens}, {u.reasoning, &got.ReasoningTokens}} {
		if f.stated != nil {
			*f.to = *f.stated
		}
	}
	return got
}

// size is the number of bytes of an item that a model would read or write.
func size(it *event.Item) int {
	n := len(it.Name) + len(it.Arguments) + len(it.Output) + len(it.Error)
	for i := range it.Content {
		n += len(it.Content[i].Text)
	}
	for i := range it.Summary {
		n += len(it.Summary[i].Text)
	}
	return n
}
