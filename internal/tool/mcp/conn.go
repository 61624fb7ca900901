package mcp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// conn is one connection.
type conn struct {
	session  *sdk.ClientSession
	process  *process // of the transport stdio
	progress sync.Map // of a call's token to its func(string)
	gone     atomic.Bool
	ended    chan struct{} // closed when the library says that it is over
}

// dial makes a connection. The caller holds s.mu.
func (s *server) dial(ctx context.Context) (*conn, error) {
	tr := s.cfg.Tool.Transport
	if tr == nil {
		return nil, errors.New("it has no transport")
	}
	c := &conn{ended: make(chan struct{})}
	var transport sdk.Transport
	switch tr.Type {
	case "http":
		t, err := httpTransport(s.cfg)
		if err != nil {
			return nil, err
		}
		transport = t
	case "stdio":
		p, err := startProcess(tr, s.cfg.Log, s.cfg.Grace)
		if err != nil {
			return nil, err
		}
		c.process, transport = p, &noting{next: p.transport()}
	default:
		return nil, fmt.Errorf("the transport %q is not known", tr.Type)
	}
	client := sdk.NewClient(&sdk.Implementation{Name: "stayd", Version: "1"}, &sdk.ClientOptions{
		Capabilities:                &sdk.ClientCapabilities{},
		ProgressNotificationHandler: c.onProgress,
		// A call is sent once; a server that asks for more gets it in a new call.
		MultiRoundTrip: &sdk.MultiRoundTripOptions{Disabled: true},
	})
	a := &attempt{}
	session, err := client.Connect(withAttempt(ctx, a), transport, nil)
	if err = a.reason(err); err != nil {
		if c.process != nil {
			err = errors.Join(err, c.process.stop())
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c.session = session
	go func() {
		defer close(c.ended)
		session.Wait() //nolint:errcheck,gosec // that it ended is what is wanted
	}()
	return c, nil
}

// close ends the connection, and waits until nothing of it is left. To say so to
// a server over HTTP is a courtesy: it is no error if it does not hear it. How a
// process ended is one.
func (c *conn) close() error {
	c.session.Close() //nolint:errcheck,gosec // see above
	var err error
	if c.process != nil {
		err = c.process.stop()
	}
	<-c.ended
	return err
}

// lost reports whether the connection is of no use any more.
func (c *conn) lost() bool {
	select {
	case <-c.ended:
		return true
	default:
		return c.gone.Load()
	}
}

// noteLoss remembers that the connection was lost, if err says so.
func (c *conn) noteLoss(err error) bool {
	if errors.Is(err, sdk.ErrConnectionClosed) || errors.Is(err, sdk.ErrSessionMissing) {
		c.gone.Store(true)
	}
	return c.lost()
}

func (c *conn) onProgress(_ context.Context, req *sdk.ProgressNotificationClientRequest) {
	token, ok := req.Params.ProgressToken.(string)
	if !ok {
		return
	}
	out, ok := c.progress.Load(token)
	if !ok {
		return
	}
	text := req.Params.Message
	if text == "" {
		text = fmt.Sprintf("%g", req.Params.Progress)
		if req.Params.Total > 0 {
			text += fmt.Sprintf(" of %g", req.Params.Total)
		}
	}
	out.(func(string))(text + "\n") //nolint:forcetypeassert // only these are stored
}

// attempt is what is known of one sending of a call, or of a listing.
type attempt struct {
	written atomic.Bool
	status  atomic.Int32           // of the HTTP response, once there is one
	denied  atomic.Pointer[denied] // why there is no credential for it
}

// denied is an error that keeps its place when the library makes a text of it.
type denied struct{ err error }

// unauthorized notes that nothing was sent for want of a credential.
func (a *attempt) unauthorized(err error) error {
	if a != nil {
		a.denied.Store(&denied{err: err})
	}
	return err
}

// reason is err, or why there was no credential.
func (a *attempt) reason(err error) error {
	if d := a.denied.Load(); d != nil && err != nil {
		return d.err
	}
	return err
}

type attemptKey struct{}

func withAttempt(ctx context.Context, a *attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// mayHaveArrived reports whether the tool may have been called. A server that
// answered that it does not know the client, the session or the path has not
// called one.
func (a *attempt) mayHaveArrived() bool {
	if a.denied.Load() != nil {
		return false
	}
	switch a.status.Load() {
	case 401, 403, 404, 405, 411, 413, 415, 429, 431:
		return false
	}
	return a.written.Load()
}

// sessionGone reports whether the server said that it does not know the session
// any more, as it does after a restart.
func (a *attempt) sessionGone() bool { return a.status.Load() == 404 }
