package index

import (
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/language"
)

// Plan is what a search asks of the index.
type Plan struct {
	Text language.Analysis
	// Asked is what the text says of time.
	Asked language.Asked
	// Vector is that of the text, encoded as a record's, and VectorModel what made
	// it. Without one the search is by words alone.
	Vector      []byte
	VectorModel string
	// Namespaces are prefixes; a record below any of them is meant. None means all.
	Namespaces []string
	// Filter is applied but for its Metadata. Times are compared in microseconds, so
	// that a record less than one outside may be found.
	Filter memory.Filter
	// Superseded also finds what was replaced.
	Superseded bool
	// Now is when the question is asked: what is recent lies shortly before it.
	Now time.Time
}

// barred returns the documents that a search must not find. Other searches may
// have the same set.
func (p *part) barred(plan *Plan) bitmap {
	hidden := p.hidden
	if plan.Superseded {
		hidden = p.replaced
	}
	var conditions []func(doc int) bool
	f := &plan.Filter
	for k, allows := range nameConditions(plan) {
		if allows == nil {
			continue
		}
		table := &p.nameTable[k]
		allowed, all := make([]bool, table.n), true
		for i := range allowed {
			allowed[i] = allows(string(table.string(i)))
			all = all && allowed[i]
		}
		if !all {
			column := &p.names[k]
			conditions = append(conditions, func(doc int) bool { return allowed[column.at(doc)] })
		}
	}
	if !f.Since.IsZero() {
		since := f.Since.UnixMicro()
		conditions = append(conditions, func(doc int) bool { t, ok := p.time(doc); return ok && t >= since })
	}
	if !f.Until.IsZero() {
		until := f.Until.Add(time.Microsecond - 1).UnixMicro()
		conditions = append(conditions, func(doc int) bool { t, ok := p.time(doc); return !ok || t < until })
	}
	if len(conditions) == 0 {
		return hidden
	}
	out := hidden.with(p.docs)
documents:
	for doc := range p.docs {
		if out.has(doc) {
			continue
		}
		for _, meets := range conditions {
			if !meets(doc) {
				out.set(doc)
				continue documents
			}
		}
	}
	return out
}

// nameConditions returns, for each property that is one of few strings, which of
// them are meant; nil is all.
func nameConditions(plan *Plan) (allows [nameKinds]func(string) bool) {
	f := &plan.Filter
	if len(plan.Namespaces) > 0 {
		allows[nameNamespace] = func(s string) bool {
			for _, prefix := range plan.Namespaces {
				if prefix == "/" || memory.Below(s, prefix) {
					return true
				}
			}
			return false
		}
	}
	if len(f.Strategies) > 0 {
		allows[nameStrategy] = func(s string) bool {
			for _, strategy := range f.Strategies {
				if string(strategy) == s {
					return true
				}
			}
			return false
		}
	}
	if f.ExcludeForeign {
		allows[nameOrigin] = func(s string) bool { return !memory.Origin(s).Foreign() }
	}
	if f.Actor != "" {
		allows[nameActor] = func(s string) bool { return s == f.Actor }
	}
	if f.SessionID != "" {
		allows[nameSession] = func(s string) bool { return s == f.SessionID }
	}
	return allows
}
