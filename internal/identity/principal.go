// Package identity says who calls: it makes, checks, rotates and revokes API
// keys, and turns what a caller shows into a principal. It knows nothing of HTTP,
// and keeps no secret: of a key it has the hash.
package identity

import "time"

// Scope is what a caller may do in a project. Each includes those before it.
type Scope string

// The scopes.
const (
	Read  Scope = "read"  // look at everything
	Write Scope = "write" // and change it
	Admin Scope = "admin" // and manage the project's keys
	Owner Scope = "owner" // and make keys of any project
)

// Scopes lists them, the least first.
func Scopes() []Scope { return []Scope{Read, Write, Admin, Owner} }

func (s Scope) rank() int {
	for i, x := range Scopes() {
		if x == s {
			return i
		}
	}
	return -1
}

// Includes reports whether who has the scope may do what other stands for.
func (s Scope) Includes(other Scope) bool { return other.rank() >= 0 && s.rank() >= other.rank() }

// Valid reports whether it is one of the scopes.
func (s Scope) Valid() bool { return s.rank() >= 0 }

// Principal is who calls.
type Principal struct {
	// ID is that of the API key, or the subject of the token; empty where nobody has
	// to say who calls.
	ID      string
	Issuer  string // of the token; empty for a key
	Project string
	Scope   Scope
	// Until is when the key ends; zero is never, and for tokens not said.
	Until time.Time
	// Actor is whom it may act for, and no other; empty is anybody.
	Actor string
}
