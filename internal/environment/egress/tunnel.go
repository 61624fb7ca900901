package egress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// client is the program's end of a tunnel, with what it had sent already.
type client struct {
	net.Conn
	buffered io.Reader
}

func (c client) Read(p []byte) (int, error) { return c.buffered.Read(p) }

func (c client) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}

// tunnel answers a CONNECT.
func (e *exchange) tunnel(w http.ResponseWriter, t target) {
	e.Allowed = true
	x := e.proxy
	opens, only := x.ring != nil && x.ring.concerns(x.life, t), x.rules.tlsOnly(t)
	begins := only || t.port == 443 // the program, with TLS, as far as can be known
	var server net.Conn
	if !opens || !begins { // else it is dialled for the requests in the tunnel
		var err error
		// The context of the request ends when the program has sent all it will send.
		// It may still wait for the answer.
		if server, err = x.dial(x.life, "tcp", t.dialled()); err != nil {
			e.fail(w, err, t)
			return
		}
		defer server.Close() //nolint:errcheck // all was sent, or is lost
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		e.Reason = "failed: " + err.Error()
		return
	}
	defer conn.Close() //nolint:errcheck // all was sent, or is lost
	e.Status = http.StatusOK
	stop := context.AfterFunc(x.life, func() {
		conn.Close() //nolint:errcheck,gosec // it may be closed
		if server != nil {
			server.Close() //nolint:errcheck,gosec // as above
		}
	})
	defer stop()
	conn.SetDeadline(time.Now().Add(headerTimeout)) //nolint:errcheck,gosec // the writing finds out
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		e.Reason = "failed: " + err.Error()
		return
	}
	from := client{Conn: conn, buffered: rw.Reader}
	if only {
		var refused *refusal
		if from, refused = e.checkTLS(from, t); refused != nil {
			e.Status = http.StatusForbidden
			return
		}
	}
	to := server
	switch {
	case !opens || only:
	case begins:
		if from, opens = readTLS(from, t); !opens {
			e.dialLate(from, t)
			return
		}
	default:
		from, to, opens = e.findTLS(from, rw.Reader, server, t)
	}
	if opens {
		e.intercept(from, t)
		return
	}
	conn.SetDeadline(time.Time{}) //nolint:errcheck,gosec // the copying finds out
	e.join(from, to)
}

// dialLate goes on with a tunnel that is not what it seemed to be.
func (e *exchange) dialLate(from client, t target) {
	server, err := e.proxy.dial(e.proxy.life, "tcp", t.dialled())
	if err != nil {
		e.Reason = "unreachable: " + err.Error()
		if r := asRefusal(err, t); r != nil {
			e.Status = http.StatusForbidden
			e.note(r)
		}
		return
	}
	defer server.Close() //nolint:errcheck // all was sent, or is lost
	stop := context.AfterFunc(e.proxy.life, func() {
		server.Close() //nolint:errcheck,gosec // it may be closed
	})
	defer stop()
	from.SetDeadline(time.Time{}) //nolint:errcheck,gosec // the copying finds out
	e.join(from, server)
}

// checkTLS reads the first message of TLS, and refuses a tunnel that does not
// begin with one or that names another host. What was read is put back.
func (e *exchange) checkTLS(from client, t target) (client, *refusal) {
	hello, name, err := serverName(from)
	if err != nil {
		r := &refusal{
			code:    "not_tls",
			message: fmt.Sprintf("the tunnel to %s does not begin with TLS, and only https may go through it", t),
			ask:     fmt.Sprintf("add %q to the allowed domains of this environment, with a port other than 80 and 443, if another protocol is needed", t.host+":port"),
		}
		body := e.note(r)
		fmt.Fprintf(from.Conn, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body) //nolint:errcheck // a program that went away
		return from, r
	}
	if isName(name, t) {
		from.buffered = io.MultiReader(strings.NewReader(hello), from.buffered)
		return from, nil
	}
	r := &refusal{code: "sni_mismatch", message: fmt.Sprintf("the tunnel is for %s, but the TLS in it is for %.100q", t, name)}
	e.note(r)
	// An alert (RFC 8446, 6.2): fatal, access_denied.
	from.Write([]byte{21, 3, 3, 0, 2, 2, 49}) //nolint:errcheck,gosec // a program that went away
	return from, r
}

// isName reports whether a name in TLS is that of the target. Of an address there
// is none.
func isName(name string, t target) bool {
	return strings.EqualFold(name, t.host) || name == "" && t.addr.IsValid()
}

// join copies both ways until both have ended, one has failed, or nothing moves.
func (e *exchange) join(from client, server net.Conn) {
	end := func() { from.Close(); server.Close() } //nolint:errcheck,gosec // it may be closed
	q := newQuiet(e.proxy.idle, end)
	defer q.timer.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := io.Copy(server, counted{from, &e.up, q}); err != nil || closeWrite(server) != nil {
			end()
		}
	}()
	if _, err := io.Copy(from.Conn, counted{server, &e.down, q}); err != nil || from.CloseWrite() != nil {
		end()
	}
	<-done
}
