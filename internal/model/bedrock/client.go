package bedrock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
)

// eventStream is the media type of a streamed answer.
const eventStream = "application/vnd.amazon.eventstream"

// streamClient refuses what is neither an error nor an event stream, which the
// SDK would take for a stream of broken events, and marks connections that are
// lost while a stream comes in, which the SDK takes for its end.
type streamClient struct{ *http.Client }

// Do has the form that the SDK wants.
func (c streamClient) Do(r *http.Request) (*http.Response, error) {
	// The SDK closes its body once the answer's head is here. The transport may
	// still be looking for the body's end, would take that for a failed write and
	// drop the connection under the answer; so it gets a body of its own.
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, fmt.Errorf("read the request's body: %w", err)
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	res, err := c.Client.Do(r) //nolint:gosec // where requests may go is the client's policy
	if err != nil || res.StatusCode >= 300 {
		return res, err
	}
	if t, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || t != eventStream {
		res.Body.Close() //nolint:errcheck,gosec // nothing of it is used
		return nil, failure.Malformed("it is not an event stream", err)
	}
	res.Body = streamBody{res.Body}
	return res, nil
}

type streamBody struct{ io.ReadCloser }

func (b streamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &lost{err}
	}
	return n, err
}

// lost is the error of a connection that was lost.
type lost struct{ err error }

func (l *lost) Error() string { return l.err.Error() }

func (l *lost) Unwrap() error { return l.err }

// remembered keeps the credentials that were last given out, so that they can be
// taken out of messages.
type remembered struct {
	aws.CredentialsProvider
	last atomic.Pointer[aws.Credentials]
}

// Retrieve implements aws.CredentialsProvider.
func (r *remembered) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := r.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		// They may come from a service that does not answer just now.
		return c, &model.Error{
			Code: failure.AuthenticationError, Retry: true,
			Message: "AWS credentials are not to be had: " + failure.Scrub(err.Error()), Err: err,
		}
	}
	r.last.Store(&c)
	return c, nil
}
