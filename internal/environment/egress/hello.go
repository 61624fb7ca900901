package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// maxHello bounds the bytes of a TLS connection's first message.
const maxHello = 64 << 10

var errRead = errors.New("the first message was read")

// serverName reads the first message of TLS (ClientHello, RFC 8446, 4.1.2) and
// returns all that was read of the connection, and the host in it, which is
// empty where there is none. It writes nothing.
func serverName(c net.Conn) (read, name string, err error) {
	l := &listening{Conn: c}
	seen := false
	err = tls.Server(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			seen, name = true, h.ServerName
			return nil, errRead
		},
	}).HandshakeContext(context.Background()) // the connection has a deadline
	if seen {
		return string(l.read), name, nil
	}
	if err == nil {
		err = errors.New("the handshake ended before it began")
	}
	return string(l.read), "", err
}

// listening keeps what is read, and writes nothing.
type listening struct {
	net.Conn
	read []byte
}

func (l *listening) Read(p []byte) (int, error) {
	if len(l.read) >= maxHello {
		return 0, errors.New("the first message of TLS is too long")
	}
	n, err := l.Conn.Read(p[:min(len(p), maxHello-len(l.read))])
	l.read = append(l.read, p[:n]...)
	return n, err
}

func (l *listening) Write(p []byte) (int, error) { return len(p), nil }

func (l *listening) Close() error { return nil }
