package environmenttest

import (
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
)

// Ahead returns the kind of sandboxes with each of them started before its program
// is known. Confine has to return a sandbox.Ahead.
func Ahead(k sandbox.Kind) sandbox.Kind {
	confine := k.Confine
	k.Confine = func(path string, spec environment.Spec) sandbox.Confinement {
		return waiting{confine(path, spec).(sandbox.Ahead)}
	}
	k.Standby = nil
	return k
}

// waiting tells all sandboxes of their programs once they have been started.
type waiting struct{ sandbox.Ahead }

func (w waiting) Launch(c shell.Command, in sandbox.Shared) (sandbox.Launch, error) {
	l, err := w.LaunchAhead(in)
	if err != nil {
		return nil, err
	}
	return &told{l, c}, nil
}

type told struct {
	sandbox.AheadLaunch
	command shell.Command
}

func (l *told) Admit(first int) error {
	if err := l.AheadLaunch.Admit(first); err != nil {
		return err
	}
	return l.Tell(l.command)
}
