package outbound

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ErrTooLarge is wrapped by the error of a body that is larger than its reader
// allows.
var ErrTooLarge = errors.New("the response is too large")

// LimitBody lets at most limit bytes of the response's body be read. Reading on
// fails with ErrTooLarge, so that a body which was cut is not taken for a whole
// one.
func LimitBody(resp *http.Response, limit int64) {
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: limit, limit: limit}
}

type limitedBody struct {
	io.ReadCloser
	left, limit int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("%w: over %d bytes", ErrTooLarge, b.limit)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, fmt.Errorf("%w: over %d bytes", ErrTooLarge, b.limit)
	}
	return n, err
}

// limited limits what is read of each response.
type limited struct {
	most int64
	next http.RoundTripper
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	// After a change of the protocol the body is a connection.
	if err != nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, err
	}
	if resp.ContentLength > l.most {
		resp.Body.Close() //nolint:errcheck,gosec // it is not read
		return nil, fmt.Errorf("%w: %d bytes, over %d", ErrTooLarge, resp.ContentLength, l.most)
	}
	LimitBody(resp, l.most)
	return resp, nil
}

// CloseIdleConnections lets http.Client close them.
func (l *limited) CloseIdleConnections() { closeIdle(l.next) }

func closeIdle(t http.RoundTripper) {
	if c, ok := t.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
