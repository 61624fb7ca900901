package crashtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// check compares what the client was told with what the server has now: the log,
// and the events played again from the first.
func (c *Client) check(ctx context.Context) (*Log, []string, error) {
	records, err := c.records(ctx)
	if err != nil {
		return nil, nil, err
	}
	log, faults := ReadLog(c.Session, records)
	for key := range c.Acked {
		if !log.Keys[key] {
			faults = append(faults, fmt.Sprintf("%s: the input %q was acknowledged and is not in the log", c.Session, key))
		}
	}
	faults = append(faults, c.checkTurns(log)...)
	more, err := c.checkServer(ctx, int64(len(records)))
	if err != nil {
		return nil, nil, err
	}
	faults = append(faults, more...)
	more, err = c.checkReplay(ctx, log)
	return log, append(faults, more...), err
}

// checkTurns expects one turn for each message.
func (c *Client) checkTurns(log *Log) []string {
	var faults []string
	turns := map[string]int{}
	for _, t := range log.Turns {
		turns[t.Text]++
		if t.Status == "cancelled" && !c.cancelled {
			faults = append(faults, fmt.Sprintf("%s: the turn %q was cancelled by nobody", c.Session, t.Text))
		}
	}
	for _, text := range c.plan.Texts[:c.posted] {
		if turns[text] != 1 {
			faults = append(faults, fmt.Sprintf("%s: there are %d turns of the message %q", c.Session, turns[text], text))
		}
		delete(turns, text)
	}
	for text := range turns {
		faults = append(faults, fmt.Sprintf("%s: nobody sent the message %q", c.Session, text))
	}
	if last := log.Files["book.txt"]; c.plan.Environment && !c.cancelled && last != c.book() {
		faults = append(faults, fmt.Sprintf("%s: the file has %q, want %q", c.Session, last, c.book()))
	}
	return faults
}

// book is what the turns wrote into the session's file: a line each, once.
func (c *Client) book() string {
	var want strings.Builder
	for _, text := range c.plan.Texts {
		if strings.Contains(text, "env") {
			want.WriteString(text + "\n")
		}
	}
	return want.String()
}

// records reads the log.
func (c *Client) records(ctx context.Context) ([]Record, error) {
	var out []Record
	for {
		var page struct {
			Data []struct {
				Seq     int64           `json:"seq"`
				Time    time.Time       `json:"time"`
				Kind    string          `json:"kind"`
				Version int             `json:"version"`
				Data    json.RawMessage `json:"data"`
				Salt    string          `json:"salt"`
				Digest  string          `json:"digest"`
				Hash    string          `json:"hash"`
			} `json:"data"`
			HasMore bool `json:"has_more"`
		}
		if err := c.get(ctx, http.MethodGet, fmt.Sprintf("/log?after=%d&limit=50", len(out)), &page); err != nil {
			return nil, err
		}
		for _, r := range page.Data {
			salt, err := hex.DecodeString(r.Salt)
			if err != nil {
				return nil, fmt.Errorf("the salt of record %d of %s: %w", r.Seq, c.Session, err)
			}
			out = append(out, Record{
				Session: c.Session, Seq: r.Seq, Time: r.Time, Kind: r.Kind, Version: r.Version, Data: r.Data, Salt: salt, Digest: r.Digest, Hash: r.Hash,
			})
		}
		if !page.HasMore {
			return out, nil
		}
	}
}

// get asks the server about the session.
func (c *Client) get(ctx context.Context, method, path string, out any) error {
	var body []byte
	if method == http.MethodPost {
		body = []byte("{}")
	}
	status, answer, err := c.send(ctx, method, "/v1/agents/sessions/"+c.Session+path, "", body)
	if err != nil {
		return fmt.Errorf("%s %s of %s: %w", method, path, c.Session, err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s %s of %s was answered with status %d: %s", method, path, c.Session, status, answer)
	}
	return json.Unmarshal(answer, out)
}

// checkServer asks the server whether the session is idle and its log is whole.
func (c *Client) checkServer(ctx context.Context, records int64) ([]string, error) {
	var faults []string
	var session struct {
		Status string `json:"status"`
	}
	if err := c.get(ctx, http.MethodGet, "", &session); err != nil {
		return nil, err
	}
	if session.Status != "idle" {
		faults = append(faults, fmt.Sprintf("%s is %s", c.Session, session.Status))
	}
	var v struct {
		OK      bool   `json:"ok"`
		Records int64  `json:"records"`
		Reason  string `json:"reason"`
	}
	if err := c.get(ctx, http.MethodPost, "/verify", &v); err != nil {
		return nil, err
	}
	if !v.OK || v.Records != records {
		faults = append(faults, fmt.Sprintf("%s does not verify: %d of %d records are right: %s", c.Session, v.Records, records, v.Reason))
	}
	return faults, nil
}

// replayTimeout bounds the replay of a session's events.
const replayTimeout = 20 * time.Second

// checkReplay plays all events again, and expects to find in them all that the
// client saw. Pieces of text are excepted, and so is, in a turn that was
// cancelled, what opened an item that was still coming in: it is counted.
func (c *Client) checkReplay(ctx context.Context, log *Log) ([]string, error) {
	if c.last == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	again := newClient(c.base, Plan{}, func(int64) {})
	defer again.http.CloseIdleConnections()
	again.Session = c.Session
	body, err := again.open(ctx, "0")
	if err != nil {
		return nil, err
	}
	defer body.Close() // only read
	byID, byEvent := map[string]Seen{}, map[string]int{}
	err = readEvents(body, func(e Event) error {
		if e.Type == "" {
			return nil
		}
		var data struct {
			EventID string `json:"event_id"`
			TurnID  string `json:"turn_id"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return err
		}
		byID[e.ID] = Seen{ID: e.ID, EventID: data.EventID, Turn: data.TurnID, Type: e.Type, Sum: sha256.Sum256(e.Data)}
		byEvent[data.EventID]++
		if e.ID == c.last {
			return errOver
		}
		return nil
	})
	if !errors.Is(err, errOver) {
		return []string{fmt.Sprintf("%s: the replay of the events ended before %s: %v", c.Session, c.last, err)}, nil
	}
	return c.compareReplay(byID, byEvent, log), nil
}

func (c *Client) compareReplay(byID map[string]Seen, byEvent map[string]int, log *Log) []string {
	var faults []string
	for id, n := range byEvent {
		if n != 1 {
			faults = append(faults, fmt.Sprintf("%s: the event %s is in the replay %d times", c.Session, id, n))
		}
	}
	for _, s := range c.Seen {
		switch {
		case strings.HasSuffix(s.Type, ".delta"):
		case s.ID != "" && byID[s.ID] != s:
			faults = append(faults, fmt.Sprintf("%s: the client saw at %s %s (%s), the replay has %s (%s)", c.Session, s.ID, s.EventID, s.Type, byID[s.ID].EventID, byID[s.ID].Type))
		case s.ID == "" && byEvent[s.EventID] == 0 && opens(s.Type) && log.cancelled(s.Turn):
			c.Withdrawn++
		case s.ID == "" && byEvent[s.EventID] == 0:
			faults = append(faults, fmt.Sprintf("%s: the client saw %s (%s) before it was durable, and it never was", c.Session, s.EventID, s.Type))
		}
	}
	return faults
}

// opens reports whether an event of the type is the frame of pieces that are
// still coming in.
func opens(kind string) bool {
	switch kind {
	case "agent.session.turn.item.added", "agent.session.turn.content_part.added", "agent.session.turn.reasoning_summary_part.added":
		return true
	}
	return false
}

// complaints are the lines of the server's log that must not be there. That the
// store does not answer may be said by a server whose store was killed.
func complaints(log string, storeKilled bool) []string {
	var faults []string
	for line := range strings.Lines(log) {
		if storeKilled && strings.Contains(line, "the store does not answer") {
			continue
		}
		for _, word := range []string{"panic:", "level=ERROR", "fatal error:", "DATA RACE"} {
			if strings.Contains(line, word) {
				faults = append(faults, "the server wrote: "+strings.TrimSpace(line))
			}
		}
	}
	return faults
}
