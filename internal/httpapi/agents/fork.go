package agents

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

func (a *api) forkOperations() []httpapi.Operation {
	with := []httpapi.Param{{Name: "with", Doc: "The id of the session to compare with."}}
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: sessionPath + "/fork", ID: "forkSession", Summary: "Make a new session that has the past of this one", Body: forkSession{}, Result: sessionObject{}, Do: a.forkSession},
		{Method: http.MethodGet, Path: sessionPath + "/diff", ID: "diffSessions", Summary: "Compare two sessions", Query: with, Result: diffObject{}, Do: a.diffSessions},
	}
}

// environmentID is the id of a session's environment: a function of the
// session's, which is found again by it.
func environmentID(sessionID string) string {
	return environmentPrefix + strings.TrimPrefix(sessionID, sessionPrefix)
}

const (
	environmentPrefix = "env_"
	sessionPrefix     = "sess_"
)

func (a *api) forkSession(c *httpapi.Call) (any, error) {
	var body forkSession
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	pairs, err := metadata(body.Metadata)
	if err != nil {
		return nil, err
	}
	parent := c.Path("session_id")
	f := &fork{a: a, call: c, view: a.view(c), body: &body, in: in, metadata: pairs, id: idFor("sess", in, c.Project)}
	if body.Input.set {
		f.turnID = event.DeriveID("turn", f.id, "first")
		if f.actor, err = c.ActFor(""); err != nil {
			return nil, err
		}
		if f.items, err = messages(body.Input.Messages, f.turnID, "input"); err != nil {
			return nil, err
		}
	}
	if in.Key != "" {
		// A repetition is answered by what was made, wherever the log is by now.
		made, known, err := a.madeBefore(c, f.id, in)
		if known || err != nil {
			return made, err
		}
	}
	at, err := a.forkAt(c.Context(), c.Project, parent, body.At)
	if err != nil {
		return nil, sessionError(err, parent)
	}
	var made sessionObject
	err = a.Journal.Fork(c.Context(), c.Project, parent, at, f.id, func(tx *journal.Tx) error {
		err := f.append(tx)
		made = renderSession(tx.State, f.view)
		return err
	})
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		return a.sessionBefore(c, f.id, in)
	}
	if err != nil {
		return nil, sessionError(err, parent)
	}
	return made, nil
}

// fork is a fork that is about to be made.
type fork struct {
	a        *api
	call     *httpapi.Call
	view     view
	body     *forkSession
	in       event.Input
	id       string
	metadata map[string]string
	turnID   string
	actor    string // who speaks
	items    []event.Item
}

// append writes the first records of the fork's own.
func (f *fork) append(tx *journal.Tx) error {
	s := tx.State
	p := &event.SessionForked{Input: f.in, From: s.ID, At: s.Seq, Metadata: s.Metadata}
	if s.Environment.Type != event.EnvironmentNone {
		p.EnvironmentID = environmentID(f.id)
	}
	if s.Environment.Type == event.EnvironmentSelfHosted {
		f.view.token, p.TokenHash = newToken()
	}
	if f.body.Metadata.Set {
		p.Metadata = f.metadata
	}
	if f.body.Agent.Given() {
		agent, err := f.a.changedAgent(f.call, s, &f.body.Agent.V)
		if err != nil {
			return err
		}
		p.Agent = agent
	}
	if f.body.SpendControl.Set {
		p.SpendLimit = &event.SpendLimit{Limit: spendLimit(f.body.SpendControl)}
	}
	if err := tx.Append(p); err != nil {
		return err
	}
	for t := tx.State.Current(); t != nil && f.body.Turn == turnCancel; t = tx.State.Current() {
		if err := tx.Append(&event.TurnEnded{TurnID: t.ID, Status: session.TurnCancelled}); err != nil {
			return err
		}
	}
	if f.turnID == "" {
		return nil
	}
	payloads, err := tx.State.Message(event.Input{By: f.in.By, TraceParent: f.in.TraceParent}, f.turnID, f.actor, f.items)
	if err != nil {
		return err
	}
	return tx.Append(payloads...)
}

// forkAt is the sequence number of the record after which the fork begins.
func (a *api) forkAt(ctx context.Context, project, id string, p *forkPoint) (int64, error) {
	if p != nil {
		if err := p.check(); err != nil {
			return 0, err
		}
	}
	var last int64
	var reached func(*session.State) bool
	err := a.Journal.View(ctx, project, id, func(s *session.State) error {
		last = s.Seq
		var err error
		switch {
		case p == nil:
		case p.Turn != "":
			reached, err = turnPoint(s, p.Turn)
		case p.Item != "":
			reached, err = itemPoint(s, p.Item)
		case p.Record > last:
			err = httpapi.Invalid("at.record", fmt.Sprintf("The log of this session ends with record %d.", last))
		default:
			last = p.Record
		}
		return err
	})
	if err != nil || reached == nil {
		return last, err
	}
	s := session.New("")
	err = a.replay(ctx, project, id, s, last, func() bool { return reached(s) })
	return s.Seq, err
}

// turnPoint refuses a turn that there is not or that has not ended, and returns
// what tells that it has.
func turnPoint(s *session.State, id string) (func(*session.State) bool, error) {
	t := s.Turn(id)
	switch {
	case t == nil:
		return nil, httpapi.NotFound("turn", id)
	case !t.Ended():
		return nil, notThere("at.turn", "The turn has not ended. Fork at a record or an item of it, or wait until it has.")
	}
	return func(s *session.State) bool { t := s.Turn(id); return t != nil && t.Ended() }, nil
}

// itemPoint is turnPoint for items.
func itemPoint(s *session.State, id string) (func(*session.State) bool, error) {
	complete := func(s *session.State) bool {
		en, ok := s.Item(id)
		return ok && en.Status != event.StatusInProgress
	}
	if _, ok := s.Item(id); !ok {
		return nil, httpapi.NotFound("item", id)
	}
	if !complete(s) {
		return nil, notThere("at.item", "The item is not complete. Fork at a record, or wait until it is.")
	}
	return complete, nil
}

func notThere(param, message string) error {
	return &httpapi.Error{Status: http.StatusConflict, Code: codeNotYet, Param: param, Message: message}
}

const codeNotYet = "not_complete"

// replay folds the session's records into the state, up to the sequence number
// last or to where done says so.
func (a *api) replay(ctx context.Context, project, id string, s *session.State, last int64, done func() bool) error {
	for s.Seq < last {
		records, err := a.Journal.Read(ctx, project, id, s.Seq, int(min(last-s.Seq, recordsPerRead)))
		if err != nil {
			return fmt.Errorf("read session %s: %w", id, err)
		}
		if len(records) == 0 {
			return fmt.Errorf("session %s ends before record %d: %w", id, last, store.ErrConflict)
		}
		for i := range records {
			if err := session.Fold(s, &records[i]); err != nil {
				return fmt.Errorf("read session %s: %w: %w", id, err, store.ErrCorrupt)
			}
			if done != nil && done() {
				return nil
			}
		}
	}
	return nil
}
