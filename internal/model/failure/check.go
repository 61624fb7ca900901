package failure

import (
	"io"
	"mime"
	"net/http"
	"time"
)

// maxErrorBody is how many bytes of an error's body are read.
const maxErrorBody = 64 << 10

// Check is the middleware of an SDK's client that turns every answer that is no
// event stream into a *model.Error, before the SDK forms an error of its own,
// which would repeat the request.
type Check struct {
	// Secrets are taken out of messages.
	Secrets []string
}

// RoundTrip has the form of the SDKs' middleware.
func (c Check) RoundTrip(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	res, err := next(req)
	if err != nil {
		return nil, Transport(req.Context(), err, c.Secrets...)
	}
	if res.StatusCode < 300 && !notStream(res.Header) {
		return res, nil
	}
	defer res.Body.Close() //nolint:errcheck // it was read as far as it is wanted
	body, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if err != nil && res.StatusCode < 300 {
		return nil, Transport(req.Context(), err, c.Secrets...)
	}
	// A body that broke off still leaves the status, which says most.
	detail := ParseDetail(body)
	if res.StatusCode < 300 && !HasError(body) {
		return nil, Malformed("it is not an event stream", nil)
	}
	status := res.StatusCode
	if status < 300 {
		status = 0
	}
	return nil, Refused(status, res.Header, detail, time.Now(), c.Secrets...)
}

// notStream reports whether the answer says that it is something else than an
// event stream. Servers that say nothing are believed.
func notStream(h http.Header) bool {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (t == "application/json" || t == "text/html")
}
