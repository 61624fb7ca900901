package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// Place makes a draft a record of a project: it turns the draft's id and those
// that it names into ids of the project. The same draft gets the same id each
// time, so that importing a file again adds nothing.
//
// Records of our own format keep an id that can be one of the project, so that a
// file goes back to where it came from unchanged; elsewhere they get new ones.
// Records that a record names are taken to be of its space.
func Place(project string, format Format, rec memory.Record) memory.Record {
	rec.Project = project
	rec.Space = memory.SpaceOf(rec.Namespace)
	id := func(old string) string {
		if old == "" {
			return ""
		}
		shard, ok := memory.ShardOfID(old)
		if format == Stayd && ok && shard == memory.ShardOf(project, rec.Space) {
			return old
		}
		return memory.ID(project, rec.Space, "import", string(format), old)
	}
	rec.ID, rec.Supersedes, rec.SupersededBy = id(rec.ID), id(rec.Supersedes), id(rec.SupersededBy)
	if rec.Source.RecordIDs != nil {
		ids := make([]string, len(rec.Source.RecordIDs))
		for i, old := range rec.Source.RecordIDs {
			ids[i] = id(old)
		}
		rec.Source.RecordIDs = ids
	}
	return rec
}

// draftID names a draft. The text is part of it, as is the time of a turn: an
// entry that says something else than at an earlier import is another record,
// and small numbers that one file has as ids are those of another one too. Nth
// tells apart a text that an entry had more than once, from 1.
func draftID(rec *memory.Record, nth int) string {
	h := sha256.New()
	parts := []string{string(rec.Strategy), rec.Source.SessionID, rec.Text, strconv.Itoa(nth)}
	if rec.Strategy == memory.Turn {
		parts = append(parts, rec.RecordedAt.Format(time.RFC3339Nano))
	}
	h.Write([]byte(strings.Join(parts, "\x00")))
	return rec.Source.External + "#" + hex.EncodeToString(h.Sum(nil)[:8])
}
