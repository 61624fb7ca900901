package environment

import (
	"context"

	"github.com/stayd/stayd/internal/vault"
)

// Secret is one that programs send and never have: their variable holds a
// placeholder, in whose place the proxy puts it.
type Secret struct {
	ID    string // of the credential
	Name  string // of the variable
	Value vault.Secret
	// Hosts are names and addresses, in lower case, to which it may be sent; none are
	// all that the network policy allows.
	Hosts []string
}

// Secrets are those of one environment.
type Secrets struct {
	Given []Secret // when the environment was opened
	// Now returns them as they are now: what was replaced has another value, what was
	// deleted is not there. It is asked often, and by several goroutines.
	Now func(ctx context.Context) ([]Secret, error)
}
