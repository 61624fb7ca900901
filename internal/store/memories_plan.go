package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/memory"
)

// MaxMemoryChange bounds the change counter of a space.
const MaxMemoryChange = 1<<31 - 1

// CheckMemoryWrite finds what no correct caller writes.
func CheckMemoryWrite(w *MemoryWrite) error {
	if w.Project == "" {
		return errors.New("the project has no name")
	}
	if ns, err := memory.ParseNamespace(w.Space); err != nil || ns != w.Space || memory.SpaceOf(ns) != ns {
		return errors.Join(fmt.Errorf("%q is no space", w.Space), err)
	}
	for i := range w.Add {
		if err := checkMemory(w, &w.Add[i]); err != nil {
			return fmt.Errorf("record %d, %s: %w", i+1, w.Add[i].ID, err)
		}
	}
	for _, s := range w.Supersede {
		_, ok1 := PackMemoryID(s.ID)
		_, ok2 := PackMemoryID(s.By)
		if !ok1 || !ok2 || s.ID == s.By || s.At.IsZero() {
			return fmt.Errorf("record %q cannot be superseded by %q at %s: two ids and a time are needed", s.ID, s.By, s.At)
		}
	}
	vectors := make(map[int64]bool, len(w.Vectors))
	for _, v := range w.Vectors {
		if len(v.Vector) == 0 || v.Model == "" || checkText(v.Model) != nil {
			return fmt.Errorf("the vector of record %d has %d bytes and the model %q", v.Num, len(v.Vector), v.Model)
		}
		if vectors[v.Num] {
			return fmt.Errorf("record %d has two vectors", v.Num)
		}
		vectors[v.Num] = true
	}
	return nil
}

// CheckMemoryUses finds what no correct caller counts, and returns the uses in the
// order of the ids, one for each.
func CheckMemoryUses(project string, uses []MemoryUse) ([]MemoryUse, error) {
	if project == "" {
		return nil, errors.New("the project has no name")
	}
	all := make([]MemoryUse, 0, len(uses))
	for _, u := range uses {
		if _, ok := PackMemoryID(u.ID); !ok || u.Times < 1 || u.At.IsZero() {
			return nil, fmt.Errorf("record %q was used %d times at %s: an id, a number from 1 and a time are needed", u.ID, u.Times, u.At)
		}
		u.At = storedTime(u.At)
		i, twice := slices.BinarySearchFunc(all, u.ID, func(a MemoryUse, id string) int { return strings.Compare(a.ID, id) })
		if !twice {
			all = slices.Insert(all, i, u)
			continue
		}
		all[i].Times += u.Times
		if u.At.After(all[i].At) {
			all[i].At = u.At
		}
	}
	return all, nil
}

func checkMemory(w *MemoryWrite, r *memory.Record) error {
	if ns, err := memory.ParseNamespace(r.Namespace); err != nil || ns != r.Namespace || memory.SpaceOf(ns) != w.Space {
		return errors.Join(fmt.Errorf("namespace %q is none of the space %s", r.Namespace, w.Space), err)
	}
	if shard, ok := memory.ShardOfID(r.ID); !ok || shard != memory.ShardOf(w.Project, w.Space) {
		return errors.New("the id is none of the space")
	}
	for _, id := range []string{r.ID, r.Supersedes, r.SupersededBy} {
		if _, ok := PackMemoryID(id); !ok && id != "" {
			return fmt.Errorf("%q is no id of a record", id)
		}
	}
	_, known := StrategyNumber(r.Strategy)
	_, from := OriginNumber(r.Origin)
	switch {
	case !known:
		return fmt.Errorf("strategy %q is not known", r.Strategy)
	case !from:
		return fmt.Errorf("origin %q is not known", r.Origin)
	case r.RecordedAt.IsZero():
		return errors.New("it has no time of recording")
	case !(r.Confidence >= 0 && r.Confidence <= 1):
		return fmt.Errorf("confidence %v is not from 0 to 1", r.Confidence)
	case (len(r.Vector) > 0) != (r.VectorModel != ""):
		return fmt.Errorf("a vector of %d bytes has the model %q", len(r.Vector), r.VectorModel)
	}
	texts := []string{
		r.Actor, r.Text, r.VectorModel, r.Source.SessionID, r.Source.TurnID, r.Source.Speaker, r.Source.Label,
		r.Source.Model, r.Source.Prompt, r.Source.External,
	}
	texts = slices.Concat(texts, r.Source.ItemIDs, r.Source.RecordIDs)
	for k, v := range r.Metadata {
		texts = append(texts, k, v)
	}
	for _, s := range texts {
		if err := checkText(s); err != nil {
			return err
		}
	}
	return nil
}

// checkText refuses what not every store can keep.
func checkText(s string) error {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("%.40q is not valid UTF-8 without NUL", s)
	}
	return nil
}

// MemoryPlan is what a write amounts to, given what its space holds.
type MemoryPlan struct {
	Space     MemorySpace // as it will be
	Written   MemoryWritten
	Add       []*memory.Record // in Written: those that are new
	Supersede []MemoryChange
	Vectors   []MemoryChange
}

// MemoryChange is a change of a record that is there. Of the rest, By and At are
// set where it is superseded, and else the others.
type MemoryChange struct {
	Num, Change int64
	By          string
	At          time.Time
	Vector      []byte
	Model       string
}

// PlanMemoryWrite decides what is written and numbers it. byID has the records
// of the space that Add and Supersede name, and there says which of the numbers in
// Vectors are in it.
func PlanMemoryWrite(w *MemoryWrite, space MemorySpace, byID map[string]memory.Record, there func(num int64) bool) (*MemoryPlan, error) {
	p := &MemoryPlan{Space: space, Written: MemoryWritten{Records: make([]memory.Record, len(w.Add))}}
	known := make(map[string]*memory.Record, len(byID)+len(w.Add))
	for id, r := range byID {
		known[id] = &r
	}
	fresh, again := make(map[string]bool, len(w.Add)), make(map[string]bool)
	for i := range w.Add {
		id := w.Add[i].ID
		if known[id] != nil {
			again[id] = !fresh[id]
			if p.Written.Repeated == nil {
				p.Written.Repeated = make([]bool, len(w.Add))
			}
			p.Written.Repeated[i] = true
			continue
		}
		r := storedMemory(w, &w.Add[i])
		r.Num, r.Change = p.next(), p.Space.Change
		known[id], fresh[id] = r, true
		p.Add = append(p.Add, r)
	}
	if err := p.supersede(w, known, fresh, again); err != nil {
		return nil, err
	}
	for _, v := range w.Vectors {
		if there(v.Num) {
			p.Vectors = append(p.Vectors, MemoryChange{Num: v.Num, Change: p.next(), Vector: v.Vector, Model: v.Model})
		}
	}
	if p.Space.Change > MaxMemoryChange {
		return nil, fmt.Errorf("the space was changed %d times, more than %d: %w", p.Space.Change, MaxMemoryChange, ErrFull)
	}
	p.Space.Records += int64(len(p.Add))
	for i := range w.Add {
		p.Written.Records[i] = *known[w.Add[i].ID]
	}
	return p, nil
}

func (p *MemoryPlan) next() int64 {
	p.Space.Change++
	return p.Space.Change
}

// supersede plans the supersessions. One by a record that is written again was made,
// or refused, when that was written, so that what was there then stays as it is.
func (p *MemoryPlan) supersede(w *MemoryWrite, known map[string]*memory.Record, fresh, again map[string]bool) error {
	for _, s := range w.Supersede {
		r := known[s.ID]
		switch {
		case again[s.By] && !fresh[s.ID]:
			continue
		case r == nil:
			return fmt.Errorf("record %s, to be superseded, is not in the space: %w", s.ID, ErrNotFound)
		case r.SupersededBy == s.By:
			continue
		case r.SupersededBy != "":
			return fmt.Errorf("record %s is superseded by %s: %w", s.ID, r.SupersededBy, ErrConflict)
		}
		r.SupersededBy, r.SupersededAt = s.By, storedTime(s.At)
		if !fresh[s.ID] {
			r.Change = p.next()
			p.Supersede = append(p.Supersede, MemoryChange{Num: r.Num, Change: r.Change, By: s.By, At: r.SupersededAt})
		}
	}
	return nil
}

// IDs lists those of the records that the write adds or supersedes.
func (w *MemoryWrite) IDs() []string {
	ids := make(map[string]bool, len(w.Add)+len(w.Supersede))
	for i := range w.Add {
		ids[w.Add[i].ID] = true
	}
	for _, s := range w.Supersede {
		ids[s.ID] = true
	}
	return slices.Collect(maps.Keys(ids))
}

// Nums lists those of the records that the write gives a vector.
func (w *MemoryWrite) Nums() []int64 {
	nums := make([]int64, 0, len(w.Vectors))
	for _, v := range w.Vectors {
		nums = append(nums, v.Num)
	}
	return MemoryNums(nums)
}

// MemoryNums returns those that a record can have, each once.
func MemoryNums(nums []int64) []int64 {
	can := make([]int64, 0, len(nums))
	for _, n := range nums {
		if n > 0 && n <= MaxMemoryChange {
			can = append(can, n)
		}
	}
	slices.Sort(can)
	return slices.Compact(can)
}

// storedMemory is the record as every store keeps it: with times in
// microseconds.
func storedMemory(w *MemoryWrite, r *memory.Record) *memory.Record {
	c := *r
	c.Project, c.Space = w.Project, w.Space
	for _, t := range []*time.Time{&c.ValidFrom, &c.ValidTo, &c.RecordedAt, &c.SupersededAt, &c.ExpiresAt, &c.UsedAt} {
		*t = storedTime(*t)
	}
	return &c
}

func storedTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

// MemoryPrefix returns the one spelling of a namespace that selects records, and
// nothing for one that selects all.
func MemoryPrefix(namespace string) (string, error) {
	if strings.Trim(namespace, "/") == "" {
		return "", nil
	}
	return memory.ParseNamespace(namespace)
}

// CheckSegment finds a piece that no correct caller stores.
func CheckSegment(g Segment, data []byte) error {
	if g.From < 1 || g.To < g.From || g.To > MaxMemoryChange {
		return fmt.Errorf("%d to %d is no range of changes", g.From, g.To)
	}
	if g.Size != int64(len(data)) {
		return fmt.Errorf("the size is %d, and there are %d bytes", g.Size, len(data))
	}
	return nil
}

// Numbers are what stands for the strategies that are asked for.
func (q *MemoryQuery) Numbers() (numbers []int16, err error) {
	for _, s := range q.Strategies {
		n, ok := StrategyNumber(s)
		if !ok {
			return nil, fmt.Errorf("strategy %q is not known", s)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
