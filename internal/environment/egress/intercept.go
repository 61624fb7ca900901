package egress

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// intercept ends the program's TLS here, and answers the requests in it.
func (e *exchange) intercept(from client, t target) {
	x := e.proxy
	conn := &noted{client: from, closed: make(chan struct{})}
	secure := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return x.authority.certificate(t)
		},
	})
	defer secure.Close() //nolint:errcheck // all was sent, or is lost
	if err := secure.HandshakeContext(x.life); err != nil {
		e.Reason = "failed: the program and the environment's proxy could not agree on TLS; does the program trust the certificates in SSL_CERT_FILE? " + err.Error()
		return
	}
	from.SetDeadline(time.Time{}) //nolint:errcheck,gosec // the reading finds out
	server := newServer(func(w http.ResponseWriter, r *http.Request) {
		e.inside.Add(1)
		x.answer(w, r, t)
	}, x.life)
	err := server.Serve(&single{conn: secure, closed: conn.closed})
	if err != nil && !errors.Is(err, net.ErrClosed) {
		e.Reason = "failed: " + err.Error()
	}
}

// answer answers a request that came through a tunnel to the target. Of another
// host, which it may name, nothing is asked.
func (x *Proxy) answer(w http.ResponseWriter, r *http.Request, t target) {
	if !x.begin() {
		panic(http.ErrAbortHandler)
	}
	defer x.running.Done()
	select { // of HTTP/2, one connection has many
	case x.inside <- struct{}{}:
		defer func() { <-x.inside }()
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	e := &exchange{proxy: x, encrypted: true, Request: Request{At: time.Now(), Method: r.Method, Host: t.host, Port: t.port, Path: r.URL.EscapedPath()}}
	defer e.end()
	if r.Method == http.MethodConnect {
		e.Method, e.Path = http.MethodConnect, ""
		e.refuse(w, invalid("a tunnel within a tunnel is not made"))
		return
	}
	e.forward(w, r, t)
}

// noted says when it was closed.
type noted struct {
	client
	once   sync.Once
	closed chan struct{}
}

func (n *noted) Close() error {
	n.once.Do(func() { close(n.closed) })
	return n.client.Close()
}

// single is a listener on which one connection comes, and which ends with it.
type single struct {
	conn   net.Conn
	given  bool
	closed chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if !s.given {
		s.given = true
		return s.conn, nil
	}
	<-s.closed
	return nil, net.ErrClosed
}

func (s *single) Close() error { return nil }

func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

// findTLS reports whether the program begins with TLS for the host of the tunnel,
// before the server has said anything. What was read of both is put back.
func (e *exchange) findTLS(from client, sent *bufio.Reader, server net.Conn, t target) (client, net.Conn, bool) {
	if said := first(from, sent, server, e.proxy.idle); len(said) > 0 {
		return from, ahead{Conn: server, r: io.MultiReader(bytes.NewReader(said), server)}, false
	}
	if b, err := sent.Peek(min(1, sent.Buffered())); err != nil || len(b) == 0 || b[0] != handshake {
		return from, server, false
	}
	from.SetDeadline(time.Now().Add(headerTimeout)) //nolint:errcheck,gosec // the reading finds out
	from, found := readTLS(from, t)
	return from, server, found
}

// readTLS is findTLS where the program is to speak first. The connection has a
// deadline.
func readTLS(from client, t target) (client, bool) {
	hello, name, err := serverName(from)
	from.buffered = io.MultiReader(strings.NewReader(hello), from.buffered)
	return from, err == nil && isName(name, t)
}

// handshake is the type of the first record of TLS (RFC 8446, 5.1).
const handshake = 22

// first waits until one side of a tunnel speaks. What the server said is returned;
// where that is nothing, the program was first, or nobody was.
func first(from client, sent *bufio.Reader, server net.Conn, wait time.Duration) (said []byte) {
	until, past := time.Now().Add(wait), time.Unix(1, 0)
	from.SetReadDeadline(until)   //nolint:errcheck,gosec // the reading finds out
	server.SetReadDeadline(until) //nolint:errcheck,gosec // as above
	done := make(chan struct{})
	go func() {
		defer close(done)
		sent.Peek(1)                 //nolint:errcheck,gosec // who reads on is told
		server.SetReadDeadline(past) //nolint:errcheck,gosec // as above
	}()
	b := make([]byte, 4096)
	n, _ := server.Read(b)
	from.SetReadDeadline(past) //nolint:errcheck,gosec // as above
	<-done
	from.SetReadDeadline(time.Time{})   //nolint:errcheck,gosec // as above
	server.SetReadDeadline(time.Time{}) //nolint:errcheck,gosec // as above
	return b[:n]
}

// ahead is a connection of which some was read already.
type ahead struct {
	net.Conn
	r io.Reader
}

func (a ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

func (a ahead) CloseWrite() error { return closeWrite(a.Conn) }
