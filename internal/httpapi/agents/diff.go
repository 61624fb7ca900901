package agents

import (
	"context"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store"
)

// diffObject says in what two sessions differ.
type diffObject struct {
	Object string      `json:"object" enum:"agent.session.diff"`
	Common *forkedFrom `json:"common" doc:"The last record that both have, or null."`
	A      sideObject  `json:"a"`
	B      sideObject  `json:"b"`
	// Files is what it takes to make the workspace of a that of b.
	Files        []changeObject `json:"files" doc:"From the workspace of a to that of b."`
	FilesOmitted int            `json:"files_omitted" doc:"How many more changes there are than are listed."`
}

// sideObject is what one of the sessions has beyond the common past.
type sideObject struct {
	SessionID    string         `json:"session_id"`
	Turns        []turnObject   `json:"turns" doc:"Turns that began or changed after the common point."`
	ItemsAfter   []itemObject   `json:"items_after"`
	Files        []changeObject `json:"files" doc:"From the workspace at the common point to that of this session."`
	FilesOmitted int            `json:"files_omitted"`
	Usage        usageObject    `json:"usage" doc:"Of the session itself, without what a fork's past has cost."`
	CostNanoUSD  int64          `json:"cost_nano_usd"`
}

type changeObject struct {
	Path       string `json:"path"`
	Kind       string `json:"kind" enum:"added,removed,changed"`
	SizeBefore *int64 `json:"size_before"`
	SizeAfter  *int64 `json:"size_after"`
}

// maxChanges is how many changes of files one list has.
const maxChanges = 5000

func (a *api) diffSessions(c *httpapi.Call) (any, error) {
	with := c.URL.Query().Get("with")
	if err := a.exists(c, c.Path("session_id")); err != nil {
		return nil, err
	}
	if with == "" {
		return nil, missing("with")
	}
	ctx := c.Context()
	d := diffObject{Object: "agent.session.diff"}
	var ends [2]end
	for i, id := range []string{c.Path("session_id"), with} {
		err := a.Journal.View(ctx, c.Project, id, func(s *session.State) error {
			ends[i] = end{id: id, seq: s.Seq, root: s.Place.Root}
			return nil
		})
		if err != nil {
			return nil, sessionError(err, id)
		}
	}
	n, err := a.shared(ctx, c.Project, &ends)
	if err != nil {
		return nil, err
	}
	past := session.New("")
	if n > 0 {
		if err := a.replay(ctx, c.Project, ends[0].id, past, n, nil); err != nil {
			return nil, err
		}
		d.Common = &forkedFrom{SessionID: past.ID, Record: n}
	}
	tree := snapshot.New(a.Blobs, c.Project)
	for i, side := range []*sideObject{&d.A, &d.B} {
		if err := a.side(ctx, c.Project, &ends[i], past, side); err != nil {
			return nil, err
		}
		if side.Files, side.FilesOmitted, err = changes(ctx, tree, past.Place.Root, ends[i].root); err != nil {
			return nil, err
		}
	}
	d.Files, d.FilesOmitted, err = changes(ctx, tree, ends[0].root, ends[1].root)
	return d, err
}

// end is where a log has come to.
type end struct {
	id   string
	seq  int64
	root event.Hash // of the workspace
}

// shared is the sequence number of the last record that both logs have; 0 is
// none. Since each hash covers the one before it, it is found by halves.
func (a *api) shared(ctx context.Context, project string, ends *[2]end) (int64, error) {
	low, high := int64(0), min(ends[0].seq, ends[1].seq)
	for low < high {
		middle := (low + high + 1) / 2
		var hashes [2]event.Hash
		for i := range ends {
			records, err := a.Journal.Read(ctx, project, ends[i].id, middle-1, 1)
			if err != nil {
				return 0, fmt.Errorf("read session %s: %w", ends[i].id, err)
			}
			if len(records) == 0 {
				return 0, sessionError(store.ErrNotFound, ends[i].id)
			}
			hashes[i] = records[0].Hash
		}
		if hashes[0] == hashes[1] {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}

// side fills in what the session has beyond the past.
func (a *api) side(ctx context.Context, project string, e *end, past *session.State, o *sideObject) error {
	o.SessionID, o.Turns, o.ItemsAfter = e.id, []turnObject{}, []itemObject{}
	err := a.Journal.View(ctx, project, e.id, func(s *session.State) error {
		e.root = s.Place.Root
		o.Usage, o.CostNanoUSD = renderUsage(s.Usage), s.CostNanoUSD
		for _, t := range s.Turns {
			if before := past.Turn(t.ID); before == nil || before.Status != t.Status || before.Steps != t.Steps {
				o.Turns = append(o.Turns, renderTurn(s, t))
			}
		}
		for i := range s.Items {
			it := s.Items[i].Item
			if before, ok := past.Item(it.ID); !ok || before.Status != it.Status {
				o.ItemsAfter = append(o.ItemsAfter, renderItem(it))
			}
		}
		return nil
	})
	return sessionError(err, e.id)
}

// changes lists the files and links that differ in content, and says how many
// more there are.
func changes(ctx context.Context, tree *snapshot.Tree, from, to event.Hash) ([]changeObject, int, error) {
	out := []changeObject{}
	found, err := tree.Diff(ctx, from, to)
	if err != nil {
		return out, 0, fmt.Errorf("compare two workspaces: %w", err)
	}
	omitted := 0
	for i := range found {
		o, ok := changeOf(&found[i])
		switch {
		case !ok:
		case len(out) == maxChanges:
			omitted++
		default:
			out = append(out, o)
		}
	}
	return out, omitted, nil
}

func changeOf(c *snapshot.Change) (changeObject, bool) {
	o := changeObject{Path: shownPath(c.Path), Kind: "changed"}
	// What is a folder on one side is no file there.
	before, after := c.Kind != snapshot.Added && c.Before.Kind != snapshot.Dir, c.Kind != snapshot.Removed && c.After.Kind != snapshot.Dir
	if before {
		o.SizeBefore = &c.Before.Size
	}
	if after {
		o.SizeAfter = &c.After.Size
	}
	switch {
	case !before && !after, before && after && c.Before.SameContent(c.After) && c.Before.Kind == c.After.Kind && c.Before.Mode == c.After.Mode:
		return o, false
	case !before:
		o.Kind = "added"
	case !after:
		o.Kind = "removed"
	}
	return o, true
}
