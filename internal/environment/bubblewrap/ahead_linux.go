package bubblewrap

import (
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
)

// ahead is one bwrap in which the helper waits to become the program. Its limits
// are those of the program, and are put on it with that.
type ahead struct{ *launch }

// LaunchAhead implements sandbox.Ahead. It needs the helper.
func (c *confinement) LaunchAhead(in sandbox.Shared) (sandbox.AheadLaunch, error) {
	l, err := newLaunch(c, shell.Command{}, in)
	if err != nil {
		return nil, err
	}
	return &ahead{l}, nil
}

// Admit implements sandbox.Launch.
func (a *ahead) Admit(int) error { return a.letGo() }

// Tell implements sandbox.AheadLaunch.
func (a *ahead) Tell(c shell.Command) error {
	a.program = a.confinement.program(c)
	return a.become()
}
