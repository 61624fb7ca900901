package bedrock

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/stayd/stayd/internal/memory/embed/batch"
)

// bounded is a client that reads no more than an answer can have.
type bounded struct {
	*http.Client
	limits batch.Limits
}

// Do has the form that the SDK wants.
func (b bounded) Do(r *http.Request) (*http.Response, error) {
	// The SDK closes its body once the answer's head is here, which the transport
	// may take for a failed write; so it gets a body of its own.
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
	res, err := b.Client.Do(r) //nolint:gosec // where requests may go is the client's policy
	if err == nil {
		res.Body = b.limits.Bound(res.Body)
	}
	return res, err
}

// marked marks the errors of credentials that are not to be had.
type marked struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (m marked) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = &credentialsError{err}
	}
	return c, err
}

type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }

func (e *credentialsError) Unwrap() error { return e.err }
