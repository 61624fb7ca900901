package index

import (
	"sync"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
)

// scratch is the memory that a search works in. Searches use it one after
// another: making as much anew for each would keep the garbage collector busier
// than the search itself.
type scratch struct {
	sieve        sieve
	outcomes     outcomes
	slots        []slot
	match        match
	near         nearness
	dictionaries []dictionary // by part
	comparisons  []*vocabulary.Comparison
	likeness     []float32
	found        []ranked
}

// scratches are those that no search uses.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

// zeroed returns n zeros, where the buffer was if they fit.
func zeroed[T any](buffer []T, n int) []T {
	if cap(buffer) < n {
		return make([]T, n)
	}
	buffer = buffer[:n]
	clear(buffer)
	return buffer
}
