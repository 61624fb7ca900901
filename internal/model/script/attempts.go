package script

import "sync"

// attemptsKept bounds the memory of the counters.
const attemptsKept = 16384

// attempts counts the attempts at a call, so that an error can be given a
// number of times. It is the only thing that is remembered between calls, no
// answer depends on it, and it starts again from nothing with the process.
type attempts struct {
	mu     sync.Mutex
	count  map[string]int
	keys   []string // ring, in order of first use
	oldest int
}

func newAttempts() *attempts { return &attempts{count: map[string]int{}} }

// next counts one more attempt at key and returns its number, from 1. The keys
// that were first used longest ago are forgotten.
func (a *attempts) next(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.count[key]; !ok {
		if len(a.keys) < attemptsKept {
			a.keys = append(a.keys, key)
		} else {
			delete(a.count, a.keys[a.oldest])
			a.keys[a.oldest] = key
			a.oldest = (a.oldest + 1) % attemptsKept
		}
	}
	a.count[key]++
	return a.count[key]
}
