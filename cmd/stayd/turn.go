package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
)

// follower shows a session while a turn of it runs, and asks the person at the
// terminal what only a person can decide.
type follower struct {
	rt       *runtime
	session  string
	out      io.Writer // of what happens
	json     bool      // as the API's events, one a line
	printer  *show.Printer
	progress *progress
	person   *person // nil where nobody is there to be asked

	cursor  string
	turn    show.Turn
	begun   time.Time
	already map[string]bool // actions that were answered
}

// newFollower follows the session from the cursor on.
func newFollower(rt *runtime, session, cursor string, o output) *follower {
	return &follower{
		rt: rt, session: session, cursor: cursor, out: o.out, json: o.json, progress: o.progress, person: o.person,
		printer: show.NewPrinter(o.out, o.width, time.Now), begun: time.Now(), already: map[string]bool{},
	}
}

// patience is how long a stream that broke is tried again.
const patience = 30 * time.Second

// run shows what happens until the turn has ended, and returns how. The stream,
// if there is one, begins at the cursor.
func (f *follower) run(ctx context.Context, events *client.Events) error {
	ctx, stop := f.cancelOnInterrupt(ctx)
	defer stop()
	var broken time.Time
	for {
		if events == nil {
			var err error
			if events, err = f.rt.Follow(ctx, f.session, f.cursor); err != nil && ctx.Err() == nil {
				if client.Status(err) != 0 || f.rt.app != nil {
					return err
				}
			}
		}
		if events != nil {
			done, err := f.read(ctx, events)
			events.Close() //nolint:errcheck,gosec // the turn is over, or it is opened again
			if done || err != nil {
				return err
			}
			events, broken = nil, time.Time{}
		}
		if ctx.Err() != nil {
			return f.gone()
		}
		if broken.IsZero() {
			broken = time.Now()
		}
		if time.Since(broken) > patience {
			return fmt.Errorf("%s does not answer any more; the session goes on there, see `stayd sessions show %s`", f.rt.Where, f.session)
		}
		done := f.progress.during("waiting for the server to come back")
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
		done()
	}
}

// gone says how to go on with a session that was left.
func (f *follower) gone() error {
	f.rt.left = true
	fmt.Fprintf(os.Stderr, "stayd: left; see how it goes on with: stayd run --session %s\n", f.session)
	return &quiet{&coded{code: exitCanceled, err: context.Canceled}}
}

// read shows the events of the stream, and reports whether the turn has ended.
func (f *follower) read(ctx context.Context, events *client.Events) (done bool, err error) {
	for {
		idle := func() {}
		if f.printer.Quiet() && !f.json {
			idle = f.progress.during("working")
		}
		more := events.Next()
		idle()
		if !more {
			return false, nil
		}
		f.cursor = events.Cursor()
		e, err := show.Parse(events.Raw())
		if err != nil {
			return false, err
		}
		if f.json {
			if _, err := fmt.Fprintf(f.out, "%s\n", events.Raw()); err != nil {
				return false, err
			}
		} else {
			f.printer.Event(&e)
		}
		if done, err := f.event(ctx, &e); done || err != nil {
			return done, err
		}
	}
}

func (f *follower) event(ctx context.Context, e *show.Event) (done bool, err error) {
	switch e.Type {
	case "error":
		return true, fmt.Errorf("the stream of the session failed: %s", e.Error.Message)
	case "agent.session.turn.created", "agent.session.turn.in_progress":
		if f.turn.ID == "" {
			f.turn = e.Turn
		}
	case "agent.session.requires_action":
		return false, f.answer(ctx, e.Session.Actions)
	case "agent.session.turn.completed", "agent.session.turn.failed", "agent.session.turn.cancelled":
		if f.turn.ID != "" && e.TurnID != f.turn.ID {
			return false, nil
		}
		f.turn = e.Turn
		switch {
		case strings.HasSuffix(e.Type, "failed"):
			return true, f.failed()
		case strings.HasSuffix(e.Type, "cancelled"):
			return true, &quiet{&coded{code: exitCanceled, err: context.Canceled}}
		}
		return true, nil
	}
	return false, nil
}

func (f *follower) failed() error {
	err := errors.New("the turn failed")
	if f.turn.Error != nil {
		err = fmt.Errorf("the turn failed: %s", f.turn.Error.Message)
	}
	if f.json {
		return err
	}
	return &quiet{err} // the printer said so
}

// cancelOnInterrupt asks the runtime to cancel the turn at the first Ctrl-C. At
// the second, the returned context ends.
func (f *follower) cancelOnInterrupt(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		fmt.Fprintln(os.Stderr, "\ncancelling; Ctrl-C again leaves at once")
		f.cancel(ctx)
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
		<-ended
	}
}

func (f *follower) cancel(ctx context.Context) {
	wish := openai.NewAgentSessionInputParamAgentSessionInputCancel()
	err := f.rt.SDK.Beta.Agents.Sessions.Events.New(ctx, f.session, openai.BetaAgentSessionEventNewParams{
		Events: []openai.AgentSessionInputParamUnion{{OfParamAgentSessionInputCancel: &wish}},
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "stayd: the turn could not be cancelled: %s\n", client.Message(err))
	}
}

// say adds a message to the session.
func say(ctx context.Context, rt *runtime, session, actor, text string) error {
	message := openai.AgentSessionInputMessageParam{Content: []openai.InputContentParamUnion{
		{OfParamInputText: &openai.InputContentParamInputText{Text: text}},
	}}
	var with []option.RequestOption
	if actor != "" {
		with = append(with, option.WithJSONSet("events.0.actor", actor))
	}
	return rt.SDK.Beta.Agents.Sessions.Events.New(ctx, session, openai.BetaAgentSessionEventNewParams{
		Events: []openai.AgentSessionInputParamUnion{
			openai.AgentSessionInputParamOfParamAgentSessionInputMessage([]openai.AgentSessionInputMessageParam{message}),
		},
	}, with...)
}

// resolve tells the runtime what a person decided about an effect.
func resolve(ctx context.Context, rt *runtime, session, effect, decision, output, reason string) error {
	body := map[string]string{"decision": decision}
	if output != "" {
		body["output"] = output
	}
	if reason != "" {
		body["reason"] = reason
	}
	return rt.Do(ctx, http.MethodPost, client.SessionPath(session, "/effects/"+effect+"/resolve"), body, nil)
}

// cost is what the records after the cursor cost, in billionths of a USD.
func cost(ctx context.Context, rt *runtime, session, cursor, turn string) (int64, error) {
	seq, _, _ := strings.Cut(cursor, ".")
	after, err := strconv.ParseInt(seq, 10, 64)
	if err != nil {
		after = 0
	}
	var sum int64
	for r, err := range rt.Log(ctx, session, after) {
		if err != nil {
			return 0, err
		}
		rec, err := r.Record(session)
		if err != nil {
			return 0, err
		}
		p, err := event.Decode(&rec)
		if err != nil {
			return 0, err
		}
		switch p := p.(type) {
		case *event.ModelResponded:
			if p.TurnID == turn {
				sum += p.CostNanoUSD
			}
		case *event.ContextCompacted:
			if p.TurnID == turn {
				sum += p.CostNanoUSD
			}
		}
	}
	return sum, nil
}
