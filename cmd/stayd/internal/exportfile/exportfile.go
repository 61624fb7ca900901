// Package exportfile is the format in which a session's log leaves the runtime:
// JSON Lines, each a record with all that its hashes cover, so that the file can
// be verified where there is no runtime.
package exportfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
)

// Line is one record, with the session that it is of.
type Line struct {
	Session string `json:"session"`
	client.Record
}

// Write writes a line.
func Write(w io.Writer, session string, r client.Record) error {
	return WriteJSON(w, Line{Session: session, Record: r})
}

// WriteJSON writes a value on a line, with raw JSON in it byte for byte.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Verify checks the chain of an export, and says of which session it is. The error
// is of what is no export at all.
func Verify(in io.Reader) (v client.Verification, session string, err error) {
	r := bufio.NewReader(in)
	var prev event.Hash
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			var e Line
			if err := json.Unmarshal(line, &e); err != nil {
				return v, session, fmt.Errorf("line %d is not a record: %w", v.Records+1, err)
			}
			if session == "" {
				session = e.Session
			}
			if reason := checkLine(&e, session, v.Records+1, &prev); reason != "" {
				v.BadSeq, v.Reason = v.Records+1, reason
				return v, session, nil
			}
			v.Records++
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return v, session, err
		}
	}
	if v.Records == 0 {
		return v, session, errors.New("it holds no record")
	}
	v.OK, v.Hash = true, prev.String()
	return v, session, nil
}

// checkLine says what is wrong with a line, or "".
func checkLine(e *Line, session string, seq int64, prev *event.Hash) string {
	if e.Seq != seq || e.Session != session {
		return fmt.Sprintf("record %d of %s stands where record %d of %s belongs", e.Seq, e.Session, seq, session)
	}
	rec, err := e.Record.Record(session)
	if err != nil {
		return err.Error()
	}
	if err := rec.Verify(*prev); err != nil {
		return err.Error()
	}
	*prev = rec.Hash
	return ""
}
