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
	agent            []string
	forked, actor    []string
	status           []string
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
		c.forked = append(c.forked, x.ForkedFrom)
		c.actor = append(c.actor, x.Actor)
		c.status = append(c.status, x.Status)
		c.metadata = append(c.metadata, p.metadata)
		c.created = append(c.created, x.CreatedAt)
		c.updated = append(c.updated, x.UpdatedAt)
		c.wake = append(c.wake, x.WakeAt)
		c.deleted = append(c.deleted, x.Deleted)
	}
	return c
}

// eraseColumns are what a group erases: the session's records up to upto.
type eraseColumns struct {
	in               []int32
	shard            []int16
	project, session []string
	upto             []int64
}

func erasesOf(group []*pending) *eraseColumns {
	c := new(eraseColumns)
	for n, p := range group {
		if !p.Erase {
			continue
		}
		c.in = append(c.in, int32(n+1))
		c.shard = append(c.shard, p.shard)
		c.project = append(c.project, p.Project)
		c.session = append(c.session, p.Session)
		c.upto = append(c.upto, p.Records[0].Seq-1)
	}
	return c
}

// treeColumns are the trees that the records of a group name.
type treeColumns struct {
	in               []int32
	shard            []int16
	project, session []string
	seq              []int64
	root             [][]byte
}

func treesOf(group []*pending) *treeColumns {
	c := new(treeColumns)
	for n, p := range group {
		for i := range p.Trees {
			c.in = append(c.in, int32(n+1))
			c.shard = append(c.shard, p.shard)
			c.project = append(c.project, p.Project)
			c.session = append(c.session, p.Session)
			c.seq = append(c.seq, p.Trees[i].Seq)
			c.root = append(c.root, p.Trees[i].Root[:])
		}
	}
	return c
}

// pastColumns are the pasts of the forks in a group, and how far its sessions
// have forgotten theirs.
type pastColumns struct {
	in               []int32
	shard            []int16
	project, session []string
	parent           []*string
	seq, erased      []int64
}

func pastsOf(group []*pending) *pastColumns {
	c := new(pastColumns)
	for n, p := range group {
		if p.Parent == nil && !p.Erase {
			continue
		}
		c.in = append(c.in, int32(n+1))
		c.shard = append(c.shard, p.shard)
		c.project = append(c.project, p.Project)
		c.session = append(c.session, p.Session)
		parent, seq, erased := (*string)(nil), int64(0), p.forgotten
		if p.Parent != nil {
			parent, seq = &p.Parent.Session, p.Parent.Seq
		}
		if p.Erase {
			erased = p.Records[0].Seq - 1
		}
		c.parent = append(c.parent, parent)
		c.seq = append(c.seq, seq)
		c.erased = append(c.erased, erased)
	}
	return c
}

// rareColumns are the arguments of sharedRare.
func rareColumns(group []*pending) []any {
	e, t, p := erasesOf(group), treesOf(group), pastsOf(group)
	return []any{
		e.in, e.shard, e.project, e.session, e.upto,
		t.in, t.shard, t.project, t.session, t.seq, t.root,
		p.in, p.shard, p.project, p.session, p.parent, p.seq, p.erased,
	}
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
