package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// recordColumns are the records of a group as arrays, one for each column. in
// says of which append (from 1) each record is.
type recordColumns struct {
	in               []int32
	shard            []int16
	project, session []string
	seq              []int64
	time             []time.Time
	kind             []string
	version          []int16
	data, salt, blob [][]byte
	digest, hash     [][]byte
}

func recordsOf(group []*pending) *recordColumns {
	c := new(recordColumns)
	for n, p := range group {
		for i := range p.Records {
			r := &p.Records[i]
			c.in = append(c.in, int32(n+1))
			c.shard = append(c.shard, p.shard)
			c.project = append(c.project, p.Project)
			c.session = append(c.session, p.Session)
			c.seq = append(c.seq, r.Seq)
			c.time = append(c.time, r.Time)
			c.kind = append(c.kind, string(r.Kind))
			c.version = append(c.version, int16(r.Version))
			data, blob := r.Data, []byte(nil)
			if p.names[i] != nil {
				data, blob = nil, p.names[i][:]
			}
			c.data = append(c.data, data)
			c.blob = append(c.blob, blob)
			c.salt = append(c.salt, r.Salt)
			c.digest = append(c.digest, r.Digest[:])
			c.hash = append(c.hash, r.Hash[:])
		}
	}
	return c
}

// indexColumns are the index rows of a group as arrays.
type indexColumns struct {
	in               []int32
	shard            []int16
	project, session []string
	agent, status    []string
	metadata         []string // JSON
	created, updated []time.Time
	wake             []*time.Time
	deleted          []bool
}

func indexesOf(group []*pending) *indexColumns {
	c := new(indexColumns)
	for n, p := range group {
		x := p.Index
		if x == nil {
			continue
		}
		c.in = append(c.in, int32(n+1))
		c.shard = append(c.shard, p.shard)
		c.project = append(c.project, p.Project)
		c.session = append(c.session, p.Session)
		c.agent = append(c.agent, x.AgentID)
		c.status = append(c.status, x.Status)
		c.metadata = append(c.metadata, p.metadata)
		c.created = append(c.created, x.CreatedAt)
		c.updated = append(c.updated, x.UpdatedAt)
		c.wake = append(c.wake, x.WakeAt)
		c.deleted = append(c.deleted, x.Deleted)
	}
	return c
}

// metadataJSON encodes metadata as an object; none is the empty one.
func metadataJSON(m map[string]string) (string, error) {
	if len(m) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode metadata: %w", err)
	}
	return string(b), nil
}

// hashOf returns the hash that is stored in a column.
func hashOf(b []byte) (h event.Hash, ok bool) {
	if len(b) != len(h) {
		return h, false
	}
	return event.Hash(b), true
}
