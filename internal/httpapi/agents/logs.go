package agents

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

func (a *api) logOperations() []httpapi.Operation {
	query := []httpapi.Param{
		{Name: "after", Doc: "Return what comes after the record with this sequence number.", Type: "integer"},
		{Name: "limit", Doc: "How many to return, from 1 to 1000. Defaults to 100.", Type: "integer"},
	}
	return []httpapi.Operation{
		{Method: http.MethodGet, Path: sessionPath + "/log", ID: "readLog", Summary: "Read a session's log", Query: query, Result: logPage{}, Do: a.readLog},
		{Method: http.MethodPost, Path: sessionPath + "/verify", ID: "verifyLog", Summary: "Verify a session's log", Body: struct{}{}, Result: verification{}, Scope: identity.Read, Do: a.verifyLog},
	}
}

// recordObject is a record of the log. Digest is the SHA-256 of salt and data, as
// they are here byte for byte; hash covers the hash before it, the header and
// digest.
type recordObject struct {
	SessionID string `json:"session_id" doc:"Whose record it is: that of another session where this one is a fork and has it as its past."`

	Seq     int64           `json:"seq"`
	Time    time.Time       `json:"time"`
	Kind    string          `json:"kind"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
	Salt    *string         `json:"salt"`
	Digest  string          `json:"digest"`
	Hash    string          `json:"hash"`
	Erased  bool            `json:"erased"`
}

type logPage struct {
	Object  string         `json:"object" enum:"list"`
	Data    []recordObject `json:"data"`
	HasMore bool           `json:"has_more"`
}

const (
	defaultRecords = 100
	maxRecords     = 1000
)

func (a *api) readLog(c *httpapi.Call) (any, error) {
	limit, err := c.Number("limit", defaultRecords, 1, maxRecords)
	if err != nil {
		return nil, err
	}
	after, err := c.Number("after", 0, 0, 1<<53)
	if err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	if err := a.exists(c, id); err != nil {
		return nil, err
	}
	records, err := a.Journal.Read(c.Context(), c.Project, id, int64(after), limit+1)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", id, err)
	}
	p := logPage{Object: "list", HasMore: len(records) > limit}
	records = records[:min(len(records), limit)]
	p.Data = make([]recordObject, len(records))
	for i := range records {
		p.Data[i] = renderRecord(&records[i])
	}
	return p, nil
}

// exists reports by its error whether the project has the session. It does not
// read the log, which may be what is wrong.
func (a *api) exists(c *httpapi.Call, id string) error {
	_, err := a.Store.Session(c.Context(), c.Project, id)
	return sessionError(err, id)
}

func renderRecord(r *event.Record) recordObject {
	o := recordObject{
		SessionID: r.Session, Seq: r.Seq, Time: r.Time, Kind: string(r.Kind), Version: r.Version, Digest: r.Digest.String(), Hash: r.Hash.String(), Erased: r.Erased(),
	}
	if !o.Erased {
		salt := hex.EncodeToString(r.Salt)
		o.Data, o.Salt = r.Data, &salt
	}
	return o
}

// verification is what came of checking a log: that it is whole, or the first
// record that is not right.
type verification struct {
	Object  string  `json:"object" enum:"agent.session.verification"`
	OK      bool    `json:"ok"`
	Records int64   `json:"records" doc:"How many records are right."`
	Hash    *string `json:"hash" doc:"Of the last of them."`
	BadSeq  *int64  `json:"bad_seq" doc:"Of the first that is not."`
	Reason  *string `json:"reason"`
}

func (a *api) verifyLog(c *httpapi.Call) (any, error) {
	var body struct{}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	if err := a.exists(c, id); err != nil {
		return nil, err
	}
	s := session.New("")
	bad, err := a.verify(c.Context(), c.Project, id, s)
	if err != nil {
		return nil, err
	}
	v := verification{Object: "agent.session.verification", OK: bad == nil, Records: s.Seq}
	if s.Seq > 0 {
		hash := s.Hash.String()
		v.Hash = &hash
	}
	if bad != nil {
		seq, reason := s.Seq+1, bad.Error()
		v.BadSeq, v.Reason = &seq, &reason
	}
	return v, nil
}

// verify folds the log into the state, up to the first record that is not right.
func (a *api) verify(ctx context.Context, project, id string, s *session.State) (bad, err error) {
	limit := recordsPerRead
	for {
		records, err := a.Journal.Read(ctx, project, id, s.Seq, limit)
		switch {
		case errors.Is(err, store.ErrCorrupt) && limit > 1:
			limit = 1 // to find which it is
			continue
		case errors.Is(err, store.ErrCorrupt):
			return err, nil
		case err != nil:
			return nil, fmt.Errorf("verify %s: %w", id, err)
		case len(records) == 0:
			return nil, nil
		}
		for i := range records {
			if bad := verifyRecord(s, &records[i]); bad != nil {
				return bad, nil
			}
		}
	}
}

func verifyRecord(s *session.State, r *event.Record) error {
	if r.Seq != s.Seq+1 {
		return errors.New("record " + strconv.FormatInt(s.Seq+1, 10) + " is missing")
	}
	if err := r.Verify(s.Hash); err != nil {
		return err
	}
	return session.Fold(s, r)
}
