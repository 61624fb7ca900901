package crashtest

import (
	"fmt"

	"github.com/stayd/stayd/internal/crashtest/outside"
)

// Books is what the outside saw of one order, which is one call of a model's.
type Books struct {
	Tool    string
	Order   string
	Arrived int
	Took    int
	Cut     int
	Effects map[string]bool // the ids that it came under
	Keys    map[string]bool // the idempotency keys that it came under
}

// Tally sorts the lines of a ledger by order. Lookups are not among them.
func Tally(lines []outside.Line) map[string]*Books {
	books := map[string]*Books{}
	for i := range lines {
		l := &lines[i]
		if l.Tool == outside.Sent {
			continue
		}
		order := l.Tool + " " + l.Order()
		b := books[order]
		if b == nil {
			b = &Books{Tool: l.Tool, Order: l.Order(), Effects: map[string]bool{}, Keys: map[string]bool{}}
			books[order] = b
		}
		switch l.What {
		case outside.Arrived:
			b.Arrived++
		case outside.Took:
			b.Took++
		case outside.Cut:
			b.Cut++
		}
		b.Effects[l.Effect] = true
		b.Keys[l.Key] = true
	}
	return books
}

// Compare checks what the outside saw against what is promised of each class,
// and against what the logs say. The faults are sentences.
func Compare(books map[string]*Books, logs []*Log) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	calls := map[string]*Call{}
	for _, l := range logs {
		for _, c := range l.Calls {
			key := c.Tool + " " + c.Order
			if c.Order == "" {
				continue
			}
			if calls[key] != nil {
				fault("the order %s is in the logs twice", key)
			}
			calls[key] = c
		}
	}
	owner := map[string]string{}
	for key, b := range books {
		promised(b, fault)
		for id := range b.Effects {
			if before, ok := owner[id]; ok {
				fault("the effect %s came for %s and for %s", id, before, key)
			}
			owner[id] = key
		}
		if c := calls[key]; c == nil {
			fault("%s reached the outside, and no log has it", key)
		} else {
			told(key, b, c, fault)
		}
	}
	for key, c := range calls {
		if c.Outcome == "completed" && books[key] == nil && outsideTool(c.Tool) {
			fault("%s is completed in the log and never reached the outside", key)
		}
	}
	return faults
}

func outsideTool(name string) bool {
	switch name {
	case outside.Look, outside.Book, outside.Pay, outside.Send:
		return true
	}
	return false
}

// promised checks what is promised of the tool's class.
func promised(b *Books, fault func(string, ...any)) {
	if len(b.Effects) != 1 {
		fault("%s %s came under %d effect ids", b.Tool, b.Order, len(b.Effects))
	}
	switch b.Tool {
	case outside.Pay:
		if b.Arrived > 1 || b.Took > 1 {
			fault("%s %s may not be repeated, arrived %d times and took effect %d times", b.Tool, b.Order, b.Arrived, b.Took)
		}
	case outside.Book:
		if len(b.Keys) != 1 || b.Keys[""] {
			fault("%s %s came under the keys %v", b.Tool, b.Order, b.Keys)
		}
	case outside.Send:
		if b.Took > 1 {
			fault("%s %s took effect %d times", b.Tool, b.Order, b.Took)
		}
	}
}

// told checks that the log says of a call what the outside saw of it.
func told(key string, b *Books, c *Call, fault func(string, ...any)) {
	if !b.Effects[c.Effect] {
		fault("%s came under %v, the log has it as %s", key, b.Effects, c.Effect)
	}
	if b.Tool != outside.Look && c.Starts == 0 {
		fault("%s reached the outside without an intention in the log", key)
	}
	if c.Outcome == "completed" && b.Took == 0 {
		fault("%s is completed in the log and never took effect", key)
	}
	if b.Tool != outside.Look && b.Took > 0 && c.Outcome != "completed" && !c.Unknown {
		fault("%s took effect %d times, and the log says neither that it did nor that this is unknown: outcome %q", key, b.Took, c.Outcome)
	}
}
