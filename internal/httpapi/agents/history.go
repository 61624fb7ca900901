package agents

import (
	"net/http"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
)

func (a *api) historyOperations() []httpapi.Operation {
	const events, turn = sessionPath + "/events", sessionPath + "/turns/{turn_id}"
	after := []httpapi.Param{{Name: "after", Doc: "The id of the last event that the client has; 0 is the start. Last-Event-ID is the same as a header. Without either, the stream begins with what happens next."}}
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: events, ID: "postEvents", Summary: "Tell a session something", Body: postEvents{}, Status: http.StatusAccepted, Do: a.postEvents},
		{Method: http.MethodGet, Path: events, ID: "streamEvents", Summary: "Follow a session", Query: after, Stream: true, Do: a.streamEvents},
		{Method: http.MethodGet, Path: sessionPath + "/turns", ID: "listTurns", Summary: "List a session's turns", Query: httpapi.PageParams(), Result: httpapi.List[turnObject]{}, Do: a.listTurns},
		{Method: http.MethodGet, Path: turn, ID: "getTurn", Summary: "Get a turn", Result: turnObject{}, Do: a.getTurn},
		{Method: http.MethodGet, Path: turn + "/items", ID: "listTurnItems", Summary: "List a turn's items", Query: httpapi.PageParams(), Result: httpapi.List[itemObject]{}, Do: a.listItems},
		{Method: http.MethodGet, Path: sessionPath + "/items", ID: "listItems", Summary: "List a session's items", Query: httpapi.PageParams(), Result: httpapi.List[itemObject]{}, Do: a.listItems},
	}
}

func (a *api) streamEvents(c *httpapi.Call) (any, error) {
	after := c.URL.Query().Get("after")
	if last := c.Header.Get("Last-Event-ID"); last != "" {
		// A client that takes up its stream again repeats the query it began with.
		after = last
	}
	return a.follow(c, c.Path("session_id"), after, a.view(c))
}

func (a *api) listTurns(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	var found []turnObject
	err = a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		places, err := pick(len(s.Turns), p, "turn", func(after string) (int, bool) {
			for i, t := range s.Turns {
				if t.ID == after {
					return i, true
				}
			}
			return 0, false
		})
		for _, i := range places {
			found = append(found, renderTurn(s, s.Turns[i]))
		}
		return err
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return httpapi.PageOf(found, p.Limit, func(o *turnObject) string { return o.ID }), nil
}

func (a *api) getTurn(c *httpapi.Call) (any, error) {
	id, turnID := c.Path("session_id"), c.Path("turn_id")
	var found turnObject
	err := a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		t := s.Turn(turnID)
		if t == nil {
			return httpapi.NotFound("turn", turnID)
		}
		found = renderTurn(s, t)
		return nil
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return found, nil
}

// listItems lists the items of the session, or of one of its turns.
func (a *api) listItems(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	id, turnID := c.Path("session_id"), c.Path("turn_id")
	var found []foundItem
	err = a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		if turnID != "" && s.Turn(turnID) == nil {
			return httpapi.NotFound("turn", turnID)
		}
		found, err = itemsOf(s, turnID, p)
		return err
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	l := httpapi.PageOf(found, p.Limit, func(f *foundItem) string { return f.id })
	out := httpapi.List[itemObject]{Object: l.Object, Data: make([]itemObject, len(l.Data)), FirstID: l.FirstID, LastID: l.LastID, HasMore: l.HasMore}
	for i := range l.Data {
		out.Data[i] = l.Data[i].item
	}
	return out, nil
}

type foundItem struct {
	id   string
	item itemObject
}

func itemsOf(s *session.State, turnID string, p httpapi.Page) ([]foundItem, error) {
	var all []int // places in s.Items
	for i := range s.Items {
		if turnID == "" || s.Items[i].TurnID == turnID {
			all = append(all, i)
		}
	}
	places, err := pick(len(all), p, "item", func(after string) (int, bool) {
		for i, place := range all {
			if s.Items[place].ID == after {
				return i, true
			}
		}
		return 0, false
	})
	found := make([]foundItem, len(places))
	for i, place := range places {
		it := s.Items[all[place]].Item
		found[i] = foundItem{id: it.ID, item: renderItem(it)}
	}
	return found, err
}
