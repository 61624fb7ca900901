package agents

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
)

func (a *api) artifactOperations() []httpapi.Operation {
	const all, one = sessionPath + "/artifacts", sessionPath + "/artifacts/{artifact_id}"
	query := append(httpapi.PageParams(), httpapi.Param{Name: "environment_id", Doc: "Only artifacts of this environment."})
	return []httpapi.Operation{
		{Method: http.MethodGet, Path: all, ID: "listArtifacts", Summary: "List what a session's turns published", Query: query, Result: httpapi.List[artifactObject]{}, Do: a.listArtifacts},
		{Method: http.MethodGet, Path: one, ID: "getArtifact", Summary: "Get an artifact", Result: artifactObject{}, Do: a.getArtifact},
		{Method: http.MethodGet, Path: one + "/content", ID: "getArtifactContent", Summary: "Download an artifact", Download: true, Do: a.artifactContent},
		{Method: http.MethodDelete, Path: one, ID: "deleteArtifact", Summary: "Take an artifact from a session", Result: deletedObject{}, Do: a.deleteArtifact},
	}
}

type artifactObject struct {
	ID            string `json:"id"`
	Object        string `json:"object" enum:"agent.session.artifact"`
	CreatedAt     int64  `json:"created_at"`
	EnvironmentID string `json:"environment_id"`
	SessionID     string `json:"session_id"`
	TurnID        string `json:"turn_id"`
	Path          string `json:"path"`
	SizeBytes     int64  `json:"size_bytes"`
}

func renderArtifact(s *session.State, f *session.Artifact) artifactObject {
	return artifactObject{
		ID: f.ID, Object: "agent.session.artifact", CreatedAt: f.CreatedAt.Unix(), EnvironmentID: s.Environment.ID, SessionID: s.ID,
		TurnID: f.TurnID, Path: shownPath(f.Path), SizeBytes: f.Size,
	}
}

// shownPath is the path of what is below the workspace, as text.
func shownPath(p string) string { return workspace + "/" + strings.ToValidUTF8(p, "\uFFFD") }

func (a *api) listArtifacts(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	id, environment := c.Path("session_id"), c.URL.Query().Get("environment_id")
	var found []artifactObject
	err = a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		all := s.Artifacts
		if environment != "" && environment != s.Environment.ID {
			all = nil
		}
		places, err := pick(len(all), p, "artifact", func(after string) (int, bool) {
			i := slices.IndexFunc(all, func(f session.Artifact) bool { return f.ID == after })
			return i, i >= 0
		})
		for _, i := range places {
			found = append(found, renderArtifact(s, &all[i]))
		}
		return err
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return httpapi.PageOf(found, p.Limit, func(o *artifactObject) string { return o.ID }), nil
}

// artifact calls fn with an artifact of the session.
func (a *api) artifact(c *httpapi.Call, fn func(*session.State, *session.Artifact)) error {
	id, artifactID := c.Path("session_id"), c.Path("artifact_id")
	err := a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		f := s.Artifact(artifactID)
		if f == nil {
			return httpapi.NotFound("artifact", artifactID)
		}
		fn(s, f)
		return nil
	})
	return sessionError(err, id)
}

func (a *api) getArtifact(c *httpapi.Call) (any, error) {
	var found artifactObject
	err := a.artifact(c, func(s *session.State, f *session.Artifact) { found = renderArtifact(s, f) })
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (a *api) artifactContent(c *httpapi.Call) (any, error) {
	var f session.Artifact
	if err := a.artifact(c, func(_ *session.State, found *session.Artifact) { f = *found }); err != nil {
		return nil, err
	}
	body, e, err := snapshot.New(a.Blobs, c.Project).Open(c.Context(), f.Root, f.Path)
	if err != nil {
		return nil, treeError(err, f.Path, "artifact_id")
	}
	return &httpapi.Content{Name: path.Base(f.Path), ETag: f.ID, ModTime: e.ModTime, Body: body}, nil
}

func (a *api) deleteArtifact(c *httpapi.Call) (any, error) {
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	id, artifactID := c.Path("session_id"), c.Path("artifact_id")
	err = a.Journal.Update(c.Context(), c.Project, id, func(tx *journal.Tx) error {
		repeated, err := tx.State.Repeated(in)
		if repeated || err != nil {
			return err
		}
		if tx.State.Artifact(artifactID) == nil {
			return httpapi.NotFound("artifact", artifactID)
		}
		return tx.Append(&event.ArtifactDeleted{Input: in, ArtifactID: artifactID})
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return deletedObject{ID: artifactID, Object: "agent.session.artifact.deleted", Deleted: true}, nil
}
