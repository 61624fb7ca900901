package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// writeTimeout is how long one write to a client may take before the client
// counts as gone.
const writeTimeout = 30 * time.Second

// EventWriter writes server-sent events. After an error the client is gone, and
// nothing more is written.
type EventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context //nolint:containedctx // the writer lives as long as the request
	call    *Call
	err     error
	buf     []byte
}

// stream answers with a stream of events.
func (c *Call) stream(write Stream) {
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // or a proxy would hold events back
	c.w.stream = true
	c.server.metrics.streams.Inc()
	c.w.WriteHeader(http.StatusOK)
	w := &EventWriter{w: c.w, control: http.NewResponseController(c.w), ctx: c.Context(), call: c}
	w.err = flush(w.control)
	write(w)
	w.Flush()
}

func flush(control *http.ResponseController) error {
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// Context ends when the client is gone.
func (w *EventWriter) Context() context.Context { return w.ctx }

// Event adds an event. The data has no line breaks, as JSON has none.
func (w *EventWriter) Event(id, kind string, data []byte) {
	w.buf = append(w.buf, "id: "...)
	w.buf = append(w.buf, id...)
	w.buf = append(w.buf, "\nevent: "...)
	w.buf = append(w.buf, kind...)
	w.buf = append(w.buf, "\ndata: "...)
	w.buf = append(w.buf, data...)
	w.buf = append(w.buf, "\n\n"...)
	if len(w.buf) > flushBytes {
		w.Flush()
	}
}

// flushBytes is how much is gathered before it is written.
const flushBytes = 64 << 10

// At tells the client where it is, without an event.
func (w *EventWriter) At(id string) {
	w.buf = append(w.buf, "id: "+id+"\n\n"...)
}

// Comment keeps the connection alive.
func (w *EventWriter) Comment() {
	w.buf = append(w.buf, ": alive\n\n"...)
}

// Flush sends what was added, and reports whether the client is still there.
func (w *EventWriter) Flush() bool {
	if w.err != nil || w.ctx.Err() != nil {
		return false
	}
	if len(w.buf) == 0 {
		return true
	}
	if err := w.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		w.err = err
		return false
	}
	_, w.err = w.w.Write(w.buf)
	w.buf = w.buf[:0]
	if w.err == nil {
		w.err = flush(w.control)
	}
	// A large batch is not kept for the rest of a stream's quiet life.
	if cap(w.buf) > flushBytes {
		w.buf = nil
	}
	return w.err == nil
}

// Fail ends the stream with an error event, which says what an answer would.
func (w *EventWriter) Fail(err error) {
	e := errorOf(err)
	w.call.server.cfg.Log.Error("a stream failed", "request_id", w.call.id, "route", w.call.route, "error", err)
	data, encodeErr := Marshal(struct {
		Type    string    `json:"type"`
		EventID string    `json:"event_id"`
		Error   errorBody `json:"error"`
	}{"error", "evt_" + w.call.id, e.envelope().Error})
	if encodeErr != nil {
		return
	}
	w.buf = append(w.buf, "event: error\ndata: "...)
	w.buf = append(append(w.buf, data...), "\n\n"...)
	w.Flush()
}
