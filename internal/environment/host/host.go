// Package host runs an agent's programs on the machine itself, as the user who
// started the runtime's end there, in a folder that the user named. It confines
// them in nothing: what it owns is that a program ends whole, with all that it
// started, and that the agent's paths and the folder's are the same. Who may use
// it is its caller's business. It needs Unix.
package host

import "github.com/stayd/stayd/internal/environment/js"

// Config is what the environment needs.
type Config struct {
	// Helper is the command line of a program that calls Supervise.
	Helper []string
	Code   *js.Engine // runs JavaScript
}
