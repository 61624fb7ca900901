package remote

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
)

// ConnectPath is the path of the connections, in the notation of http.ServeMux.
const ConnectPath = "GET /v1/agents/environments/{id}/connect"

// An environment has the id of its session, with another prefix.
const (
	environmentPrefix = "env_"
	sessionPrefix     = "sess_"
)

// greetTimeout bounds the wait for a machine's hello.
const greetTimeout = 30 * time.Second

// HubConfig is what the runtime's end needs.
type HubConfig struct {
	Journal *journal.Journal
	Log     *slog.Logger
	// Projects lists those in which the session of a request may be.
	Projects func(r *http.Request) []string
	// Stopping is the cause with which the contexts of calls end when this process
	// stops. Such a call goes on at the machine, and the next process asks for it.
	Stopping error
}

// Hub is the runtime's end of the connections of all environments. It is safe for
// use by many goroutines.
type Hub struct {
	cfg  HubConfig
	ctx  context.Context //nolint:containedctx // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex
	links   map[key]*link
	closed  bool
	serving sync.WaitGroup
}

// key names a session.
type key struct{ project, session string }

// NewHub returns a hub without connections.
func NewHub(cfg HubConfig) *Hub {
	h := &Hub{cfg: cfg, links: map[key]*link{}}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// Close ends all connections, and says so in the logs of their sessions. Calls
// that were under way go on at the machines.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.stop()
	h.serving.Wait()
}

// Drop ends the connection of a session that is no more.
func (h *Hub) Drop(project, session string) { h.end(key{project, session}, errDeleted) }

// Renewed ends the connection of a session whose environment has another token
// now. A machine that shows the new one may connect.
func (h *Hub) Renewed(project, session string) { h.end(key{project, session}, errRenewed) }

func (h *Hub) end(k key, why error) {
	if l := h.link(k); l != nil {
		l.end(why)
	}
}

var (
	errDeleted  = errors.New("the session was deleted")
	errRenewed  = errors.New("the environment has another token now, and the machine has to show that one")
	errShutdown = errors.New("the runtime is stopping")
)

// Server is the environment of a session, whether a machine is connected or not.
func (h *Hub) Server(project, session string) tool.Server {
	return &server{hub: h, key: key{project, session}}
}

// Handler takes the connections of machines, at ConnectPath.
func (h *Hub) Handler() http.Handler { return http.HandlerFunc(h.connect) }

func (h *Hub) link(k key) *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[k]
}

func (h *Hub) connect(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	k, token, ok, err := h.authorize(r, id)
	switch {
	case err != nil:
		h.cfg.Log.Error("a machine could not be connected", "environment", id, "error", err)
		refuse(w, http.StatusServiceUnavailable, "server_error", "The store does not answer. Try again.")
		return
	case !ok:
		// Whether there is such an environment is told to nobody without its token.
		refuse(w, http.StatusUnauthorized, "invalid_request_error", "There is no such environment, or it has another token.")
		return
	}
	l, refused := h.claim(k, token, r)
	if refused != nil {
		refuse(w, refused.status, "invalid_request_error", refused.message)
		return
	}
	defer h.release(l)
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		h.cfg.Log.Info("a machine did not connect", "environment", id, "error", err)
		return // Accept has answered
	}
	l.wire = newWire(conn)
	h.serve(l, id)
}

// refuse answers with the API's envelope of an error.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	b, err := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}})
	if err != nil {
		panic(err) // of strings, it cannot
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b) //nolint:errcheck,gosec // if it fails, the client is gone
}

// authorize finds the session of the environment, if the request has its token,
// and returns the token's hash.
func (h *Hub) authorize(r *http.Request, id string) (key, event.Hash, bool, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	suffix, ours := strings.CutPrefix(id, environmentPrefix)
	if !strings.EqualFold(scheme, "Bearer") || !ours {
		return key{}, event.Hash{}, false, nil
	}
	sum := event.Hash(sha256.Sum256([]byte(strings.TrimSpace(token))))
	for _, project := range h.cfg.Projects(r) {
		k := key{project, sessionPrefix + suffix}
		var env event.Environment
		err := h.cfg.Journal.View(r.Context(), k.project, k.session, func(s *session.State) error {
			env = s.Environment
			return nil
		})
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return key{}, event.Hash{}, false, err
		case env.Type == event.EnvironmentSelfHosted && env.ID == id && subtle.ConstantTimeCompare(sum[:], env.TokenHash[:]) == 1:
			return k, sum, true, nil
		}
	}
	return key{}, event.Hash{}, false, nil
}

// refusal is why a connection is not taken.
type refusal struct {
	status  int
	message string
}

// claim makes the session's link, for a connection that is to be made. It is
// refused where another machine is connected, which must have answered a ping.
func (h *Hub) claim(k key, token event.Hash, r *http.Request) (*link, *refusal) {
	for {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return nil, &refusal{http.StatusServiceUnavailable, "The runtime is stopping. Try again."}
		}
		other := h.links[k]
		if other == nil {
			l := newLink(h.ctx, k, token, r.RemoteAddr)
			h.links[k] = l
			h.serving.Add(1)
			h.mu.Unlock()
			return l, nil
		}
		h.mu.Unlock()
		if !other.isReady() {
			return nil, &refusal{http.StatusServiceUnavailable, "Another connection to this environment is just being made or ended. Try again."}
		}
		if other.wire.ping(r.Context()) == nil {
			return nil, &refusal{http.StatusConflict, fmt.Sprintf("Another machine is connected to this environment: %s, since %s. Stop it first.", other.name(), other.since.UTC().Format(time.RFC3339))}
		}
		if r.Context().Err() == nil {
			other.end(errDead)
		}
		select {
		case <-other.gone:
		case <-r.Context().Done():
			return nil, &refusal{http.StatusServiceUnavailable, "The request was given up."}
		}
	}
}

func (h *Hub) release(l *link) {
	l.end(errDead)
	if l.wire != nil {
		l.wire.conn.CloseNow() //nolint:errcheck,gosec // it is over either way
	}
	h.mu.Lock()
	delete(h.links, l.key)
	h.mu.Unlock()
	l.lose()
	close(l.gone)
	h.serving.Done()
}

// serve has the machine in the session's log for as long as it is connected.
func (h *Hub) serve(l *link, id string) {
	log := h.cfg.Log.With("session", l.key.session, "from", l.from)
	if err := l.greet(); err != nil {
		log.Warn("a machine was not taken", "error", err)
		l.close(websocket.StatusPolicyViolation, reason(err))
		return
	}
	renewed := false
	if err := h.say(l.key, func(s *session.State) *event.EnvironmentChanged {
		// A renewal that comes later finds the link; an earlier one may have come
		// before there was one.
		if renewed = s.Environment.TokenHash != l.token; renewed {
			return nil
		}
		c := &event.EnvironmentChanged{Status: session.PlaceConnected}
		if !reflect.DeepEqual(s.Place.Tools, l.hello.Tools) {
			c.Tools = l.hello.Tools
		}
		return c
	}); err != nil {
		log.Error("a machine could not be written into the log", "error", err)
		l.close(websocket.StatusTryAgainLater, "the runtime's store does not answer")
		return
	}
	if renewed {
		l.close(websocket.StatusPolicyViolation, errRenewed.Error())
		return
	}
	log.Info("a machine is connected", "machine", l.hello.Machine, "folder", l.hello.Folder, "tools", len(l.hello.Tools))
	err := l.serve(welcome{Version: Version, Session: l.key.session, Environment: id})
	log.Info("a machine is disconnected", "machine", l.hello.Machine, "reason", err)
	if err := h.say(l.key, disconnected); err != nil && !errors.Is(err, store.ErrNotFound) {
		// The next call finds out.
		log.Warn("the loss of a machine could not be written into the log", "error", err)
	}
}

func disconnected(s *session.State) *event.EnvironmentChanged {
	if s.Place.Status != session.PlaceConnected {
		return nil
	}
	return &event.EnvironmentChanged{Status: session.PlaceDisconnected}
}

// sayTimeout bounds one append.
const sayTimeout = 30 * time.Second

// say appends what is to be said of the session's environment; nil is nothing.
func (h *Hub) say(k key, what func(*session.State) *event.EnvironmentChanged) error {
	// It is said when the hub is closed, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), sayTimeout)
	defer cancel()
	return h.cfg.Journal.Update(ctx, k.project, k.session, func(tx *journal.Tx) error {
		c := what(tx.State)
		if c == nil {
			return nil
		}
		if t := tx.State.Current(); t != nil {
			c.TurnID = t.ID
		}
		if c.Status == session.PlaceConnected {
			c.Epoch = tx.Epoch
		}
		return tx.Append(c)
	})
}

// missing says in the log that no machine is connected, where the log has one: an
// earlier process was ended before it could.
func (h *Hub) missing(k key) {
	err := h.say(k, func(s *session.State) *event.EnvironmentChanged {
		// One that has been connected meanwhile is in the log after this.
		if h.link(k) != nil {
			return nil
		}
		return disconnected(s)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		h.cfg.Log.Warn("that no machine is connected could not be written into the log", "session", k.session, "error", err)
	}
}
