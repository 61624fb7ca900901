package index

import "sync"

// scratch is the memory that a search works in. Searches use it one after
// another: making as much anew for each would keep the garbage collector busier
// than the search itself.
type scratch struct {
	sieve  sieve
	room   room
	scorer scorer
	merged []hit
	seen   map[docKey]int // in merged
	ranker ranker
}

// scratches are those that no search uses.
var scratches = sync.Pool{New: func() any {
	return &scratch{seen: map[docKey]int{}, ranker: ranker{sessions: map[sessionKey]int32{}}}
}}

// put ends the use by a search that came to its end, of which nothing is kept.
func (s *scratch) put() {
	s.ranker.search, s.scorer.lexicon, s.scorer.top = nil, nil, nil
	scratches.Put(s)
}

// zeroed returns n zeros, where the buffer was if they fit.
func zeroed[T any](buffer []T, n int) []T {
	if cap(buffer) < n {
		return make([]T, n)
	}
	buffer = buffer[:n]
	clear(buffer)
	return buffer
}

// sized returns a list of n, where the buffer was if they fit. What is in it is
// from before.
func sized[T any](buffer []T, n int) []T {
	if cap(buffer) < n {
		return make([]T, n)
	}
	return buffer[:n]
}
