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
	if err = a.unsaid(a.reason(err)); err != nil {
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
