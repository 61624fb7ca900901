package session

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
)

func (s *State) environmentChanged(p *event.EnvironmentChanged, at time.Time) {
	s.finish(p.EffectID, EffectFinished, at)
	s.Place.Status, s.Place.TurnID, s.Place.Error, s.Place.Since = p.Status, p.TurnID, p.Error, s.Seq+1
	if p.Tools != nil {
		s.Place.Tools = p.Tools
		s.toolsChanged()
	}
	if p.Epoch != 0 {
		s.Place.Epoch = p.Epoch
	}
	s.Place.Resets = max(s.Place.Resets, p.Reset)
}

func (s *State) snapshot(p *event.Snapshot) {
	s.took(p.Input)
	s.Place.Root, s.Place.Files, s.Place.Bytes = p.Root, p.Files, p.Bytes
	for _, f := range p.Artifacts {
		if s.unpublished == nil {
			s.unpublished = map[string]Artifact{}
		}
		s.unpublished[f.Path] = Artifact{Path: f.Path, Size: f.Size, Root: p.Root}
	}
}

func (s *State) tokenRenewed(p *event.TokenRenewed) error {
	if s.Environment.Type != event.EnvironmentSelfHosted {
		return fmt.Errorf("a token of an environment that is %s: %w", s.Environment.Type, ErrImpossible)
	}
	s.took(p.Input)
	s.Environment.TokenHash = p.TokenHash
	return nil
}

// publish makes artifacts of the files that wait for it.
func (s *State) publish(turnID string, at time.Time) {
	for _, path := range slices.Sorted(maps.Keys(s.unpublished)) {
		a := s.unpublished[path]
		a.ID, a.TurnID, a.CreatedAt = event.DeriveID("artifact", s.ID, turnID, path), turnID, at
		s.Artifacts = append(s.Artifacts, a)
	}
	s.unpublished = nil
}

// Artifact returns an artifact by its id, or nil.
func (s *State) Artifact(id string) *Artifact {
	for i := range s.Artifacts {
		if s.Artifacts[i].ID == id {
			return &s.Artifacts[i]
		}
	}
	return nil
}

func (s *State) artifactDeleted(p *event.ArtifactDeleted) error {
	i := slices.IndexFunc(s.Artifacts, func(a Artifact) bool { return a.ID == p.ArtifactID })
	if i < 0 {
		return fmt.Errorf("artifact %q does not exist: %w", p.ArtifactID, ErrImpossible)
	}
	s.took(p.Input)
	s.Artifacts = slices.Delete(s.Artifacts, i, i+1)
	return nil
}
