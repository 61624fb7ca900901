package egress

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/outbound"
)

// refusal is why a request is not made.
type refusal struct {
	code    string
	message string // for the model
	ask     string // what the operator could do; empty where nothing
	detail  string // for the log alone
}

func (r *refusal) Error() string { return r.message }

// asRefusal returns the refusal that an error of Dial, or of sending a body, is;
// else nil.
func asRefusal(err error, t target) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	var address *outbound.RefusedError
	if !errors.As(err, &address) {
		return nil
	}
	// The address itself is not told: it may be one of the operator's network.
	return &refusal{
		code:    "address_refused",
		message: fmt.Sprintf("%s is not a public address of the internet: it is %s", t, address.Reason),
		ask:     fmt.Sprintf("allow %q by name in the runtime's configuration, if programs of environments are to reach it", t),
	}
}

// exchange is a request or a tunnel while it lasts.
type exchange struct {
	proxy *Proxy
	Request
	encrypted bool // it came through a tunnel that is opened here
	up, down  atomic.Int64
	inside    atomic.Int64 // requests in the tunnel, each of which is recorded itself
}

func (e *exchange) end() {
	if e.inside.Load() > 0 && e.Allowed {
		return
	}
	e.BytesUp, e.BytesDown = e.up.Load(), e.down.Load()
	e.DurationMS = time.Since(e.At).Milliseconds()
	e.proxy.record(e.Request)
}

// note keeps why a request was refused, and returns it as the answer's text.
func (e *exchange) note(r *refusal) []byte {
	e.Allowed = false
	e.Reason = r.code + ": " + r.message
	if r.detail != "" {
		e.Reason += ": " + r.detail
	}
	body := map[string]string{"type": "network_refused", "code": r.code, "message": r.message}
	if r.ask != "" {
		body["ask_the_operator_to"] = r.ask
	}
	b, err := json.Marshal(map[string]any{"error": body})
	if err != nil {
		return []byte(r.message) // strings can always be encoded
	}
	return append(b, '\n')
}

// refuse answers with the refusal that err is.
func (e *exchange) refuse(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{code: "failed", message: err.Error()}
	}
	e.Status = http.StatusForbidden
	e.answer(w, "403 Refused by the network policy of the environment: "+r.message, e.note(r))
}

// fail answers for a server that could not be reached.
func (e *exchange) fail(w http.ResponseWriter, err error, t target) {
	if r := asRefusal(err, t); r != nil {
		e.refuse(w, r)
		return
	}
	e.Status = http.StatusBadGateway
	e.Allowed = true
	e.Reason = "unreachable: " + err.Error()
	message := t.String() + " could not be reached"
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		message += ": its certificate could not be verified: " + untrusted.Err.Error()
	}
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"type": "unreachable", "code": "unreachable", "message": message}}) //nolint:errchkjson // strings can always be encoded
	e.answer(w, "502 Could not reach "+t.String(), append(body, '\n'))
}

// answer writes a whole answer. To a CONNECT it does so by hand: most programs
// show of it the status line alone, so that has to say why.
func (e *exchange) answer(w http.ResponseWriter, status string, body []byte) {
	if e.Method == http.MethodConnect {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer conn.Close()                                                                                                                                        //nolint:errcheck // the answer was written, or nobody reads it
		conn.SetDeadline(time.Now().Add(headerTimeout))                                                                                                           //nolint:errcheck,gosec // as above
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", oneLine(status), len(body), body) //nolint:errcheck // as above
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	w.Write(body) //nolint:errcheck,gosec // a program that went away
}

// oneLine makes a text fit for a status line.
func oneLine(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b[:min(len(b), 500)])
}

// quiet calls what it was made with when nothing has moved for a time.
type quiet struct {
	timer *time.Timer
	after time.Duration
}

func newQuiet(after time.Duration, end func()) *quiet {
	return &quiet{timer: time.AfterFunc(after, end), after: after}
}

func (q *quiet) moved() { q.timer.Reset(q.after) }

// counted counts what is read, and says that something moves.
type counted struct {
	io.Reader
	n     *atomic.Int64
	quiet *quiet
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.n.Add(int64(n))
		c.quiet.moved()
	}
	return n, err
}
