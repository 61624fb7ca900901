package app

import (
	"net/http"
	"slices"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/remote"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/tool"
)

// openHub makes the end of the connections of self-hosted environments.
func (a *App) openHub(j *journal.Journal) {
	a.hub = remote.NewHub(remote.HubConfig{Journal: j, Log: a.log, Projects: a.projectsOf, Stopping: effect.ErrShutdown})
	a.environments.Remote = func(project, session string) (tool.Server, error) {
		return a.hub.Server(project, session), nil
	}
	a.handler = withConnections(a.hub.Handler(), a.server)
}

// projectsOf lists the projects in which the session of a machine that connects
// may be. The machine has the token of its environment, and no API key that would
// name one.
func (a *App) projectsOf(r *http.Request) []string {
	asked := r.Header.Get("OpenAI-Project")
	if asked != "" {
		if httpapi.ValidName(asked) {
			return []string{asked}
		}
		return nil
	}
	projects := []string{httpapi.DefaultProject}
	for _, p := range a.cfg.Keys {
		projects = append(projects, p)
	}
	for i := range a.cfg.Issuers {
		for j := range a.cfg.Issuers[i].Rules {
			projects = append(projects, a.cfg.Issuers[i].Rules[j].Project)
		}
	}
	slices.Sort(projects)
	return slices.Compact(projects)
}

// withConnections has connections of machines answered beside the API, as they
// show a token of their own and no API key.
func withConnections(connections, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(remote.ConnectPath, connections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == remote.ConnectPath {
			mux.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// Sandboxes makes the drivers of the sandboxes, by name, as a runtime with the
// configuration offers them.
func Sandboxes(cfg *Config) (map[string]environment.Driver, error) { return openSandboxes(cfg) }
