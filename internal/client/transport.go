package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// transport hands requests to a handler in this process. An answer is handed on
// as it is written, so that a stream of events is one.
type transport struct{ handler http.Handler }

// RoundTrip calls the handler in a goroutine of its own, which ends when the
// handler does. The handler's context ends with that of the request, and when
// the body of the answer is closed.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.Host = req.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	r, w := io.Pipe()
	rw := &responseWriter{header: http.Header{}, pipe: w, started: make(chan struct{})}
	// A handler that writes to a reader who is gone is not held.
	unwatch := context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) }) //nolint:gosec // it never fails
	go func() {
		defer cancel()
		defer unwatch()
		defer func() {
			if p := recover(); p != nil {
				err := fmt.Errorf("the runtime failed at %s %s: %v", req.Method, req.URL.Path, p)
				rw.fail(err)
			}
			in.Body.Close() //nolint:errcheck,gosec // of a request, read or not
		}()
		t.handler.ServeHTTP(rw, in)
		rw.WriteHeader(http.StatusOK)
		w.Close() //nolint:errcheck,gosec // it never fails
	}()
	select {
	case <-rw.started:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if rw.err != nil {
		return nil, rw.err
	}
	return &http.Response{
		Status: http.StatusText(rw.status), StatusCode: rw.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rw.sent, Body: &answer{PipeReader: r, cancel: cancel}, ContentLength: -1, Request: req,
	}, nil
}

// answer is the body of an answer.
type answer struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (a *answer) Close() error {
	a.cancel()
	return a.PipeReader.Close()
}

// responseWriter is what the handler writes to.
type responseWriter struct {
	header  http.Header
	pipe    *io.PipeWriter
	once    sync.Once
	started chan struct{} // closed when status, sent and err are set
	status  int
	sent    http.Header // a copy of header as it was when the answer started
	err     error
}

func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader starts the answer. Informational statuses are not handed on.
func (w *responseWriter) WriteHeader(status int) {
	if status < 200 {
		return
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	})
}

func (w *responseWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(b)
}

// Flush starts the answer; what was written is with the reader already.
func (w *responseWriter) Flush() { w.WriteHeader(http.StatusOK) }

// SetReadDeadline and SetWriteDeadline accept what http.ResponseController asks
// for: a reader in the same process is as slow as it wants to be.
func (w *responseWriter) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is as SetReadDeadline.
func (w *responseWriter) SetWriteDeadline(time.Time) error { return nil }

func (w *responseWriter) fail(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.started)
	})
	w.pipe.CloseWithError(err)
}
