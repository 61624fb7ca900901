package effect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
)

// callMemory answers a call of memory's tools. All of them may be repeated: what
// they write has an id that follows from the effect's.
func (p *Performer) callMemory(ctx context.Context, job Job) Outcome {
	started := p.Now()
	c := memoryCall{Performer: p, job: &job}
	res, err := c.answer(ctx)
	if err != nil {
		var bad *keeper.BadRecordError
		var held *keeper.HeldError
		if !errors.As(err, &bad) && !errors.As(err, &held) {
			return p.failed(ctx, job, err, true)
		}
		res = tool.Failure("%v", err)
	}
	out := finished(job, res, p.Now().Sub(started), false)
	out.Foreign = c.foreign
	return record(out)
}

type memoryCall struct {
	*Performer
	job     *Job
	foreign bool // memories that rest on foreign words are in the answer
}

func (c *memoryCall) answer(ctx context.Context) (tool.Result, error) {
	if c.job.Memory == nil {
		return tool.Failure("The agent has no memory any more."), nil
	}
	switch c.job.Item.Name {
	case session.MemorySearch:
		return c.search(ctx)
	case session.MemoryWrite:
		return c.write(ctx)
	case session.MemoryUpdate:
		return c.update(ctx)
	case session.MemoryForget:
		return c.forget(ctx)
	}
	return tool.Failure("There is no tool %q.", c.job.Item.Name), nil
}

// arguments reads those of the call, and says what is wrong with them.
func (c *memoryCall) arguments(to any) error {
	d := json.NewDecoder(bytes.NewReader(c.job.Item.Arguments))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return &keeper.BadRecordError{Message: "The arguments cannot be read: " + err.Error()}
	}
	return nil
}

const (
	// maxFound is how many memories a search of the model's returns at most, and the
	// others how long one of them is and all are together, in bytes.
	maxFound      = 50
	maxFoundText  = 2 << 10
	maxFoundBytes = 16 << 10
)

func (c *memoryCall) search(ctx context.Context) (tool.Result, error) {
	var args struct {
		Query      string            `json:"query"`
		Limit      int               `json:"limit"`
		Strategies []memory.Strategy `json:"strategies"`
		AsOf       string            `json:"as_of"`
	}
	if err := c.arguments(&args); err != nil {
		return tool.Result{}, err
	}
	asOf, err := when("as_of", args.AsOf)
	if err != nil {
		return tool.Result{}, err
	}
	q := memory.Query{Text: args.Query, Limit: args.Limit, KnownAt: asOf}
	if q.Limit < 1 {
		q.Limit = memory.DefaultLimit
	}
	q.Limit = min(q.Limit, maxFound)
	q.Filter.Strategies = args.Strategies
	if len(args.Strategies) == 0 {
		q.Filter.Strategies = recalled()
	}
	if r := c.job.Memory.Settings.Recall; r != nil {
		q.Filter.ExcludeForeign = r.ExcludeForeign
	}
	hits, err := c.Performer.search(ctx, c.job, q)
	if err != nil {
		return tool.Result{}, err
	}
	if len(hits) == 0 {
		return tool.Text("Nothing is remembered of that."), nil
	}
	var b strings.Builder
	for i := range hits {
		h := &hits[i].Record
		if len(h.Text) > maxFoundText {
			h.Text = strings.ToValidUTF8(h.Text[:maxFoundText], "") + " ... (cut)"
		}
		if line := fmt.Sprintf("%s %s %s", h.ID, h.Strategy, keeper.Words(h)); b.Len()+len(line) <= maxFoundBytes {
			b.WriteString(line)
			c.foreign = c.foreign || h.Origin.Foreign()
		}
	}
	return tool.Text(b.String()), nil
}

func (c *memoryCall) write(ctx context.Context) (tool.Result, error) {
	var args struct {
		Text      string          `json:"text"`
		Strategy  memory.Strategy `json:"strategy"`
		Label     string          `json:"label"`
		ValidFrom string          `json:"valid_from"`
		ValidTo   string          `json:"valid_to"`
	}
	if err := c.arguments(&args); err != nil {
		return tool.Result{}, err
	}
	r := memory.Record{Strategy: args.Strategy, Text: args.Text, Actor: c.job.Memory.Actor, Origin: c.origin(), Source: c.source()}
	var err error
	if r.ValidFrom, err = when("valid_from", args.ValidFrom); err != nil {
		return tool.Result{}, err
	}
	if r.ValidTo, err = when("valid_to", args.ValidTo); err != nil {
		return tool.Result{}, err
	}
	if r.ValidFrom.IsZero() && r.ValidTo.IsZero() && r.Strategy != memory.Core {
		r.ValidFrom, r.ValidTo = keeper.Became(r.Text, c.job.Memory.At)
	}
	switch r.Strategy {
	case "":
		r.Strategy = memory.Semantic
	case memory.Core:
		return c.writeBlock(ctx, r, args.Label)
	case memory.Semantic, memory.Preference, memory.Episodic:
	default:
		return tool.Failure("The strategy is %q. Give semantic, preference, episodic or core.", args.Strategy), nil
	}
	return c.store(ctx, r)
}

// writeBlock gives a core block another text.
func (c *memoryCall) writeBlock(ctx context.Context, r memory.Record, label string) (tool.Result, error) {
	blocks := c.job.Memory.Settings.Core
	i := slices.IndexFunc(blocks, func(b event.CoreBlock) bool { return b.Label == label })
	if i < 0 {
		return tool.Failure("There is no core block with the label %q.", label), nil
	}
	if len(r.Text) > blocks[i].Limit {
		return tool.Failure("The text has %d bytes, more than the %d that the block %s may have. Shorten it.", len(r.Text), blocks[i].Limit, label), nil
	}
	// A person has agreed, where it may rest on foreign words.
	r.Origin, r.Source.Label = memory.OriginAgent, label
	ns, err := c.job.placeOf(memory.Core)
	if err != nil {
		return tool.Result{}, err
	}
	before, err := c.Keeper.Block(ctx, c.job.Project, ns, label, time.Time{})
	if err != nil {
		return tool.Result{}, err
	}
	if before != nil {
		r.Supersedes = before.ID
	}
	return c.store(ctx, r)
}

// store writes the memory at its strategy's place.
func (c *memoryCall) store(ctx context.Context, r memory.Record) (tool.Result, error) {
	ns, err := c.job.placeOf(r.Strategy)
	if err != nil {
		return tool.Result{}, err
	}
	r.Namespace, r.ID = ns, memory.ID(c.job.Project, memory.SpaceOf(ns), "effect", c.job.ID)
	switch _, err := c.Keeper.Get(ctx, c.job.Project, r.ID); {
	case err == nil: // an attempt before this one wrote it
		return tool.Text("Remembered as " + r.ID + "."), nil
	case !errors.Is(err, store.ErrNotFound):
		return tool.Result{}, err
	}
	_, _, err = c.Keeper.WriteFor(ctx, c.job.Project, c.job.Session, []memory.Record{r})
	if errors.Is(err, store.ErrConflict) {
		return tool.Failure("Somebody else has changed it meanwhile. Read it again, and then write."), nil
	}
	if err != nil {
		return tool.Result{}, err
	}
	return tool.Text("Remembered as " + r.ID + "."), nil
}

func (c *memoryCall) update(ctx context.Context) (tool.Result, error) {
	var args struct {
		MemoryID  string  `json:"memory_id"`
		Text      string  `json:"text"`
		ValidFrom *string `json:"valid_from"`
	}
	if err := c.arguments(&args); err != nil {
		return tool.Result{}, err
	}
	old, refused, err := c.own(ctx, args.MemoryID)
	if err != nil || refused != "" {
		return tool.Failure("%s", refused), err
	}
	source, origin := c.source(), memory.Worse(old.Origin, c.origin())
	source.Label, source.RecordIDs = old.Source.Label, old.Source.RecordIDs
	change := keeper.Change{Key: c.job.ID, Session: c.job.Session, Text: &args.Text, Origin: origin, Source: &source}
	if args.ValidFrom != nil {
		at, err := when("valid_from", *args.ValidFrom)
		if err != nil {
			return tool.Result{}, err
		}
		change.ValidFrom = &at
	}
	r, err := c.Keeper.Update(ctx, c.job.Project, old.ID, change)
	var superseded *keeper.SupersededError
	if errors.As(err, &superseded) {
		return tool.Failure("%v", superseded), nil
	}
	if err != nil {
		return tool.Result{}, err
	}
	return tool.Text("Remembered as " + r.ID + "; it takes the place of " + old.ID + "."), nil
}

func (c *memoryCall) forget(ctx context.Context) (tool.Result, error) {
	var args struct {
		MemoryID string `json:"memory_id"`
	}
	if err := c.arguments(&args); err != nil {
		return tool.Result{}, err
	}
	old, refused, err := c.own(ctx, args.MemoryID)
	switch {
	case err != nil:
		return tool.Result{}, err
	case refused != "" && c.job.Attempt > 1:
		return tool.Text("It is not there any more."), nil
	case refused != "":
		return tool.Failure("%s", refused), nil
	}
	receipt, err := c.Keeper.Forget(ctx, c.job.Project, keeper.Selection{ID: old.ID}, "asked for in a conversation")
	if errors.Is(err, store.ErrNotFound) {
		return tool.Text("It is not there any more."), nil
	}
	if err != nil {
		return tool.Result{}, err
	}
	n := 0
	for _, count := range receipt.Records {
		n += count
	}
	return tool.Text(fmt.Sprintf("Forgotten, with all versions and what was drawn from it: %d memories. The receipt is %s.", n, receipt.ID)), nil
}

// own returns a memory that the agent may change, or says why it may not.
func (c *memoryCall) own(ctx context.Context, id string) (r memory.Record, refused string, err error) {
	missing := fmt.Sprintf("There is no memory %q. Give an id as memory_search says it.", id)
	r, err = c.Keeper.Get(ctx, c.job.Project, id)
	if errors.Is(err, store.ErrNotFound) {
		return r, missing, nil
	}
	if err != nil {
		return r, "", err
	}
	for _, template := range c.job.lookedAt() {
		ns, err := c.job.place(template)
		if err != nil {
			return r, "", err
		}
		if !memory.Below(r.Namespace, ns) {
			continue
		}
		switch r.Strategy {
		case memory.Core:
			return r, "This is a core block. Change it by memory_write, with its label.", nil
		case memory.Turn:
			if c.job.Item.Name == session.MemoryUpdate {
				return r, "This is what was said, word for word, and stays. Write what is true instead by memory_write.", nil
			}
		default: // what is known may be changed
		}
		return r, "", nil
	}
	return r, missing, nil
}

// origin is whose words the model's are. A call that a person has agreed to is the
// agent's.
func (c *memoryCall) origin() memory.Origin {
	if c.job.Memory.Foreign && c.job.Policy.Approval != session.ApprovalAlways {
		return memory.OriginTool
	}
	return memory.OriginAgent
}

func (c *memoryCall) source() memory.Source {
	return memory.Source{SessionID: c.job.Session, TurnID: c.job.TurnID, ItemIDs: []string{c.job.Item.ID}}
}

// when reads a time. Empty is no time.
func when(param, s string) (time.Time, error) {
	t, err := memory.ParseTime(s)
	if err != nil {
		return t, &keeper.BadRecordError{Param: param, Message: fmt.Sprintf("The argument %s is not right: %v.", param, err)}
	}
	return t, nil
}
