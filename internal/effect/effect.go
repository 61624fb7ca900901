// Package effect performs what a session's log says is to be done: it calls the
// model, the tool or the environment, once, and says what is to be written about
// it. It decides what a failed attempt means for the effect's class; it neither
// reads nor writes the log.
package effect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// Servers connects a caller with MCP servers.
type Servers interface {
	Server(ctx context.Context, c tool.Caller, t *event.Tool) (tool.Server, error)
}

// Performer performs effects. It is safe for use by many goroutines.
type Performer struct {
	Catalog      model.Catalog
	Servers      Servers
	Environments *Environments
	Keeper       *keeper.Keeper // of long-term memory; nil where no agent has one
	Feed         *feed.Feed
	Now          func() time.Time
}

// Job is an effect with all that it needs, taken from the state under its lock.
type Job struct {
	loop.Start
	Project string
	Session string
	Caller  tool.Caller // for whom a server is called
	// TraceParent is that of the request that began the turn.
	TraceParent string

	Request     *model.Request // of a model call and a compaction
	RequestHash string
	Model       string // the agent's
	Step        int    // of a model call: the turn's model responses before it
	Outputs     int    // of a model call: the turn's outputs before it
	Covers      []string

	// Since is when the effect's last attempt began, where its intention is in the
	// log.
	Since time.Time

	Tool        *event.Tool // the MCP server's configuration
	OutputIndex int         // of a call's item

	Environment event.Environment
	Place       session.Place
	Epoch       int64    // of this process's lease
	Languages   []string // in which code was run before

	Memory *Recollection // of what reaches long-term memory
}

// Outcome says what to append about an effect, on the state as it is when it is
// appended. Nil appends nothing: the attempt was stopped, and may not have been
// made at all.
type Outcome func(*session.State) []event.Payload

func record(p event.Payload) Outcome {
	return func(*session.State) []event.Payload { return []event.Payload{p} }
}

// Prepare takes from the state what the effect needs.
func (p *Performer) Prepare(s *session.State, start loop.Start, epoch int64) Job {
	job := Job{
		Start: start, Project: s.Project, Session: s.ID, Model: s.Agent.Model,
		Environment: s.Environment, Place: s.Place, Epoch: epoch, Caller: caller(s),
	}
	t := s.Current()
	if of := s.Turn(start.TurnID); of != nil {
		job.TraceParent = of.TraceParent
	}
	e := s.Effect(start.ID)
	if e != nil {
		job.Since = e.StartedAt
	}
	switch start.What {
	case event.EffectModel:
		job.Request, job.RequestHash, job.Step, job.Outputs = s.Request(), s.RequestHash(), t.Steps, t.Outputs
		job.Request.EffectID = start.ID
	case event.EffectCompaction:
		job.Request, job.Covers = s.CompactionRequest(start.Covers)
		job.Request.EffectID = start.ID
	case event.EffectTool:
		if en, ok := s.Item(start.Item.ID); ok {
			job.OutputIndex = en.OutputIndex
		}
		job.Tool = serverConfig(s, start.Server)
		if start.Server == event.MemoryLabel {
			job.Memory = recollect(s, start.What)
		}
		if start.Server == event.EnvironmentLabel && p.Environments != nil && !p.Environments.isOpen(s.ID) {
			job.Languages = languages(s)
		}
	case event.EffectToolsList:
		job.Tool = serverConfig(s, start.Server)
	case event.EffectRecall, event.EffectKeep, event.EffectExtract:
		job.Memory = recollect(s, start.What)
	default: // the environment is the session's, and the rest is not performed
	}
	if start.What == event.EffectExtract {
		job.Request = &model.Request{ServiceTier: s.Agent.ServiceTier}
		job.Model = cmp.Or(s.Agent.Memory.Model, job.Model)
	}
	if job.Request != nil && e != nil && e.Status == session.EffectStarted && !start.Reserve {
		p.keepToReserved(s, &job, e.Reserved)
	}
	return job
}

// caller says for whom the session's turn calls servers.
func caller(s *session.State) tool.Caller {
	return tool.Caller{Project: s.Project, Session: s.ID, Agent: s.Agent.ID, Version: s.Agent.Version, Actor: s.Speaker(), By: s.Created.By, Vaults: s.VaultIDs}
}

func serverConfig(s *session.State, label string) *event.Tool {
	for i := range s.Agent.Tools {
		if t := &s.Agent.Tools[i]; t.Type == event.ToolMCP && t.ServerLabel == label {
			c := *t
			return &c
		}
	}
	return nil
}

// Perform makes one attempt. It returns when the attempt is over or, soon after
// ctx has ended, when it is known that nothing of it goes on in this process. A
// panic below it is a failed attempt.
func (p *Performer) Perform(ctx context.Context, job Job) (out Outcome) {
	defer func() {
		if r := recover(); r != nil {
			out = p.failed(ctx, job, fmt.Errorf("the runtime failed while it made the call: %v", r), true)
		}
	}()
	switch job.What {
	case event.EffectModel:
		return p.callModel(ctx, job)
	case event.EffectCompaction:
		return p.compact(ctx, job)
	case event.EffectToolsList:
		return p.listTools(ctx, job)
	case event.EffectEnvironment:
		return p.setUp(ctx, job)
	case event.EffectSuspend:
		return p.suspend(ctx, job)
	case event.EffectRecall:
		return p.recall(ctx, job)
	case event.EffectKeep:
		return p.keep(ctx, job)
	case event.EffectExtract:
		return p.extract(ctx, job)
	default: // a call
	}
	if job.Mode == loop.Lookup {
		return p.lookUp(ctx, job)
	}
	return p.callTool(ctx, job)
}

// languages lists those in which code was run in the session's environment.
func languages(s *session.State) []string {
	var found []string
	for i := range s.Items {
		it := &s.Items[i]
		if it.ServerLabel != event.EnvironmentLabel || it.Name != "run_code" || it.Status == event.StatusInProgress {
			continue
		}
		var args struct {
			Language string `json:"language"`
		}
		if json.Unmarshal(it.Arguments, &args) != nil {
			continue
		}
		if l := cmp.Or(args.Language, "javascript"); !slices.Contains(found, l) {
			found = append(found, l)
		}
	}
	return found
}

// Leave closes what the session has open in this process.
func (p *Performer) Leave(session string) {
	if p.Environments != nil {
		p.Environments.Leave(session)
	}
}

// attempts is how often an effect is tried before it is given up.
const attempts = 5

// backoff is how long to wait before the attempt after n: doubling from 200 ms
// to 30 s, with full jitter over its upper half, and never less than was asked
// for.
func backoff(n int, asked time.Duration) time.Duration {
	d := min(200*time.Millisecond<<min(n-1, 8), 30*time.Second)
	d = d/2 + rand.N(d/2) //nolint:gosec // jitter needs no secrecy
	return max(d, asked)
}

func (p *Performer) retryAt(attempt int, asked time.Duration) *time.Time {
	at := p.Now().Add(backoff(attempt, asked)).UTC()
	return &at
}

// lookupPause is how long to wait before a lookup is tried again that had no
// answer. It is tried for as long as it takes, so the pauses grow with the time
// that has passed.
func (p *Performer) lookupPause(job Job) time.Duration {
	return min(p.Now().Sub(job.Since)/2, 2*time.Minute)
}

// failed says what a call without an answer means. sent is whether it may have
// reached the tool; what an attempt before it may have done counts as well.
func (p *Performer) failed(ctx context.Context, job Job, err error, sent bool) Outcome {
	fail := &event.EffectFailed{
		EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt,
		Code: "connection_failed", Message: err.Error(),
	}
	stopped, shutdown := ctx.Err() != nil, errors.Is(context.Cause(ctx), ErrShutdown)
	sent = sent || job.Doubt
	switch {
	case shutdown && !sent && job.What == event.EffectTool && job.Class != event.Pure:
		// The next process may make the call, of whatever class it is.
		fail.RetryAt = p.retryAt(job.Attempt, 0)
		return record(fail)
	case stopped && (job.Class == event.Pure || shutdown):
		return nil
	case job.What != event.EffectTool:
		if job.Attempt < attempts {
			fail.RetryAt = p.retryAt(job.Attempt, 0)
		}
		return record(fail)
	case sent && (stopped || job.Class == event.Once):
		return record(&event.EffectUnknown{EffectID: job.ID, TurnID: job.TurnID, Reason: err.Error()})
	case stopped:
		return record(fail)
	case job.Attempt < attempts || (sent && job.Class == event.Reconcilable):
		var asked time.Duration
		if job.Mode == loop.Lookup {
			asked = p.lookupPause(job)
		}
		fail.Uncertain, fail.RetryAt = sent, p.retryAt(job.Attempt, asked)
		return record(fail)
	case sent && job.Class != event.Pure:
		return record(&event.EffectUnknown{EffectID: job.ID, TurnID: job.TurnID, Reason: fmt.Sprintf("after %d attempts: %v", job.Attempt, err)})
	}
	return record(fail)
}

// ErrShutdown is the cause of a context that ended because the process stops.
// What was under way is taken up by the next process, by its class.
var ErrShutdown = errors.New("the runtime is stopping")
