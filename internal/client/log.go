package client

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// Record is a record of a session's log as the API shows it.
type Record struct {
	// SessionID is whose record it is: that of another where the session is a fork
	// and has it as its past.
	SessionID string `json:"session_id,omitempty"`

	Seq     int64           `json:"seq"`
	Time    time.Time       `json:"time"`
	Kind    string          `json:"kind"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"` // byte for byte what the hashes cover; null once erased
	Salt    *string         `json:"salt"` // in hexadecimal; null once erased
	Digest  string          `json:"digest"`
	Hash    string          `json:"hash"`
	Erased  bool            `json:"erased"`
}

// Record returns the record as the log holds it, so that it can
// be verified and decoded. The session is that of the log.
func (r *Record) Record(session string) (event.Record, error) {
	if r.SessionID != "" {
		session = r.SessionID
	}
	e := event.Record{Session: session, Seq: r.Seq, Time: r.Time, Kind: event.Kind(r.Kind), Version: r.Version}
	if !r.Erased {
		e.Data = r.Data
		if r.Salt == nil {
			return e, fmt.Errorf("record %d has no salt", r.Seq)
		}
		salt, err := hex.DecodeString(*r.Salt)
		if err != nil {
			return e, fmt.Errorf("record %d: salt: %w", r.Seq, err)
		}
		e.Salt = salt
	}
	for _, h := range []struct {
		from string
		to   *event.Hash
	}{{r.Digest, &e.Digest}, {r.Hash, &e.Hash}} {
		b, err := hex.DecodeString(h.from)
		if err != nil || len(b) != len(h.to) {
			return e, fmt.Errorf("record %d: %q is not a SHA-256 in hexadecimal", r.Seq, h.from)
		}
		copy(h.to[:], b)
	}
	return e, nil
}

// SessionPath is the path of a session, with what follows it.
func SessionPath(session, rest string) string {
	return "/v1/agents/sessions/" + url.PathEscape(session) + rest
}

// pageOfLog is how many records are asked for at a time.
const pageOfLog = 200

// Log returns the records of a session with a sequence number over after. An
// error is the last of what it returns.
func (c *Client) Log(ctx context.Context, session string, after int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			var page struct {
				Data    []Record `json:"data"`
				HasMore bool     `json:"has_more"`
			}
			path := SessionPath(session, "/log?limit="+strconv.Itoa(pageOfLog)+"&after="+strconv.FormatInt(after, 10))
			if err := c.Do(ctx, http.MethodGet, path, nil, &page); err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range page.Data {
				after = r.Seq
				if !yield(r, nil) {
					return
				}
			}
			if !page.HasMore || len(page.Data) == 0 {
				return
			}
		}
	}
}

// Verification is what came of checking a log.
type Verification struct {
	OK      bool   `json:"ok"`
	Records int64  `json:"records"` // that are right
	Hash    string `json:"hash"`    // of the last of them
	BadSeq  int64  `json:"bad_seq"` // the first that is not, or 0
	Reason  string `json:"reason"`
}

// Verify has the runtime check a session's log.
func (c *Client) Verify(ctx context.Context, session string) (Verification, error) {
	var v Verification
	err := c.Do(ctx, http.MethodPost, SessionPath(session, "/verify"), struct{}{}, &v)
	return v, err
}
