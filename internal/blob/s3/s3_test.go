package s3_test

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/blob/s3"
	"github.com/stayd/stayd/internal/event"
)

const bucket = "blobs"

// bucketStore returns a store in a bucket of its own, and what is behind it.
func bucketStore(t *testing.T, prefix string) (*s3.Store, *s3mem.Backend) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return openBucket(t, bucket, prefix, server), backend
}

func openBucket(t *testing.T, name, prefix string, server *httptest.Server) *s3.Store {
	t.Helper()
	s, err := s3.New(t.Context(), s3.Config{
		Bucket: name, Prefix: prefix, Region: "eu-west-1", Endpoint: server.URL, PathStyle: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func credentials(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

func TestS3(t *testing.T) {
	credentials(t)
	blobtest.Run(t, func(t *testing.T) blob.Store { s, _ := bucketStore(t, "some/prefix/"); return s })
}

func TestCorrupt(t *testing.T) {
	credentials(t)
	blobtest.RunCorrupt(t, func(t *testing.T) (blob.Store, func(string, event.Hash, []byte)) {
		s, backend := bucketStore(t, "")
		return s, func(project string, name event.Hash, kept []byte) {
			if _, err := backend.PutObject(bucket, "p-"+project+"/"+name.String(), map[string]string{}, bytes.NewReader(kept), int64(len(kept)), nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestNoBucket: a bucket that is not there is not one without blobs.
func TestNoBucket(t *testing.T) {
	credentials(t)
	server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(server.Close)
	s := openBucket(t, "absent", "", server)
	b := blobtest.Make([]byte("hello"))
	if _, err := s.Get(t.Context(), "p", b.Name, nil); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get without a bucket: %v, want another error than ErrNotFound", err)
	}
	if err := s.Put(t.Context(), "p", []blob.Blob{b}); err == nil {
		t.Error("Put without a bucket did not fail")
	}
}
