package effect

import (
	"context"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/environment"
)

// usesSecrets reports whether programs of the session's environment may have
// secrets: they need a vault, and a network to send them over.
func (e *Environments) usesSecrets(job *Job) bool {
	return e.Secrets != nil && job.Environment.Network != nil && len(job.Caller.Vaults) > 0
}

// secrets returns those that the place is opened with; nil where there are none.
// The caller holds p.mu.
func (e *Environments) secrets(ctx context.Context, p *place, job *Job) (*environment.Secrets, error) {
	p.caller.Store(nil)
	if !e.usesSecrets(job) {
		return nil, nil
	}
	given, err := e.secretsOf(ctx, job)
	if err != nil {
		return nil, err
	}
	p.caller.Store(&job.Caller)
	if p.secrets = ids(given); len(given) == 0 {
		return nil, nil
	}
	return &environment.Secrets{Given: given, Now: func(ctx context.Context) ([]environment.Secret, error) {
		return e.Secrets(ctx, *p.caller.Load())
	}}, nil
}

func (e *Environments) secretsOf(ctx context.Context, job *Job) ([]environment.Secret, error) {
	given, err := e.Secrets(ctx, job.Caller)
	if err != nil {
		return nil, fmt.Errorf("open the secrets of the session's vaults: %w", err)
	}
	return given, nil
}

func ids(secrets []environment.Secret) []string {
	var all []string
	for i := range secrets {
		all = append(all, secrets[i].ID)
	}
	return all
}

// isForOthers reports whether the place is open with secrets that are not those of
// whom the call is for. The caller holds p.mu.
func (e *Environments) isForOthers(ctx context.Context, p *place, job *Job) (bool, error) {
	before := p.caller.Load()
	if p.srv == nil || p.calls > 0 || before == nil || before.Actor == job.Caller.Actor || !e.usesSecrets(job) {
		return false, nil
	}
	given, err := e.secretsOf(ctx, job)
	if err != nil {
		return false, err
	}
	if !slices.Equal(ids(given), p.secrets) {
		return true, nil
	}
	p.caller.Store(&job.Caller)
	return false, nil
}

// reopen opens the visit's place with other secrets, and with the files that it
// has. Its programs end: they may have been started for somebody else.
func (e *Environments) reopen(ctx context.Context, v *visit) error {
	p, job := v.place, v.job
	if err := p.settle(ctx, job.Place.Root); err != nil {
		return err
	}
	s, err := p.captureSoon(ctx)
	if err != nil {
		return fmt.Errorf("keep the files of the environment: %w", err)
	}
	if s != nil {
		s.EffectID, s.TurnID = job.ID, job.TurnID
		v.said = append(v.said, s)
	}
	job.Place.Root, job.Languages = p.root, []string{"python", "javascript"}
	p.close()
	return e.open(ctx, p, job)
}
