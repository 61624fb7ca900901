package journal

import (
	"maps"
	"time"

	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// indexOf is the session's index row, given what is to be done next. While the
// session has work to do, WakeAt is the time when its turn began, so that the
// row does not change from step to step.
func indexOf(project string, s *session.State, next loop.Step) store.Index {
	ix := store.Index{
		Project: project, Session: s.ID, AgentID: s.Agent.ID, Status: s.Status(), Metadata: s.Metadata,
		CreatedAt: s.CreatedAt, UpdatedAt: s.LastActiveAt, Deleted: s.Deleted,
	}
	if s.Forked != nil {
		ix.ForkedFrom = s.Forked.From
	}
	if !s.Deleted {
		ix.Actor = session.ActorKey(project, s.Actor)
		var at time.Time
		switch t := s.Current(); {
		case len(next.Append) == 0 && len(next.Start) == 0:
			at = next.WakeAt
		case t != nil:
			at = t.StartedAt
		default:
			at = s.LastActiveAt
		}
		if !at.IsZero() {
			ix.WakeAt = &at
		}
	}
	return ix
}

// sameIndex reports whether two rows differ in nothing by which a session is
// found.
func sameIndex(a, b *store.Index) bool {
	same := a.Session == b.Session && a.Status == b.Status && a.AgentID == b.AgentID && a.ForkedFrom == b.ForkedFrom && a.Actor == b.Actor && a.Deleted == b.Deleted &&
		(a.WakeAt == nil) == (b.WakeAt == nil) && maps.Equal(a.Metadata, b.Metadata)
	return same && (a.WakeAt == nil || a.WakeAt.Equal(*b.WakeAt))
}
