// Package s3 keeps blobs as objects of a bucket that speaks the S3 protocol. It
// owns the names of the objects:
//
//	<prefix>p-<project>/<name>
//
// When the bucket says that an object was last modified is when the blob was
// last put. Buckets know seconds and their own clock, so the grace of a sweep
// has to be longer than clocks differ.
//
// A Put and a Sweep of one process exclude each other object by object. Buckets
// have no means for the same between processes: between the last look of a sweep
// at an object and its deletion, a few milliseconds, a Put of another process
// can be undone. It takes a blob that nothing has named for the whole grace and
// that is put again in these milliseconds. So the grace is to be long.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/pack"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/outbound/awsconfig"
)

const (
	projectPrefix = "p-"
	// requests is the number of requests that one call has under way.
	requests = 16
	// smallObject is the size in bytes up to which to write an object again is
	// cheaper than to ask whether it is there.
	smallObject = 64 << 10
)

// Config says which bucket.
type Config struct {
	Bucket    string
	Prefix    string // of all objects' names; may be empty
	Region    string // empty: what the environment says
	Endpoint  string // of another service than AWS; empty is AWS
	PathStyle bool   // the bucket is part of the path and not of the host
	Outbound  outbound.Policy
}

// Store is a blob.Store in a bucket.
type Store struct {
	client *s3.Client
	bucket string
	prefix string
	codec  *pack.Codec
	// locks are held, by the first byte of a blob's name, while it is put and
	// while it is swept.
	locks [256]sync.RWMutex
}

var _ blob.Store = (*Store)(nil)

// New returns the store in a bucket, which must exist. Credentials are those of
// the environment, as the AWS SDK finds them.
func New(ctx context.Context, c Config) (*Store, error) {
	if c.Bucket == "" {
		return nil, errors.New("open the bucket of blobs: it has no name")
	}
	loaded, err := awsconfig.Load(ctx, awsconfig.Source{Region: c.Region, Endpoint: c.Endpoint, Outbound: c.Outbound})
	if err != nil {
		return nil, fmt.Errorf("open the bucket of blobs: %w", err)
	}
	codec, err := pack.New()
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = c.PathStyle
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
			// Services other than AWS do not all know the newer checksums, and a
			// blob's name is one.
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	return &Store{client: client, bucket: c.Bucket, prefix: c.Prefix, codec: codec}, nil
}

// Close frees what the store holds.
func (s *Store) Close() error {
	s.codec.Close()
	return nil
}

func (s *Store) projectKey(project string) string {
	return s.prefix + projectPrefix + url.PathEscape(project) + "/"
}

func (s *Store) key(project string, name event.Hash) string {
	return s.projectKey(project) + name.String()
}

// Put writes the blobs, several at a time.
func (s *Store) Put(ctx context.Context, project string, blobs []blob.Blob) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	for i := range blobs {
		b := &blobs[i]
		if running.Err() != nil {
			break
		}
		g.Go(func() error {
			if len(b.Data) > blob.MaxSize {
				return fmt.Errorf("put blob %s: %d bytes are more than the %d that a blob may have", b.Name, len(b.Data), blob.MaxSize)
			}
			if err := s.put(running, s.key(project, b.Name), b); err != nil {
				return fmt.Errorf("put blob %s: %w", b.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *Store) put(ctx context.Context, key string, b *blob.Blob) error {
	lock := &s.locks[b.Name[0]]
	lock.RLock()
	defer lock.RUnlock()
	if len(b.Data) > smallObject {
		if found, err := s.touch(ctx, key); found || err != nil {
			return err
		}
	}
	kept := s.codec.Pack(b.Data)
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(kept), ContentLength: aws.Int64(int64(len(kept))),
	})
	return err
}

// touch makes an object that is there count as put now: it is copied to itself
// within the bucket.
func (s *Store) touch(ctx context.Context, key string) (bool, error) {
	_, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: &key, CopySource: aws.String(url.PathEscape(s.bucket) + "/" + escapeKey(key)),
		MetadataDirective: types.MetadataDirectiveReplace,
	})
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

// escapeKey escapes all but the slashes.
func escapeKey(key string) string {
	parts := strings.Split(key, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

func missing(err error) bool {
	if _, ok := errors.AsType[*types.NoSuchKey](err); ok {
		return true
	}
	response, ok := errors.AsType[*awshttp.ResponseError](err)
	return ok && response.HTTPStatusCode() == http.StatusNotFound && !noBucket(err)
}

func noBucket(err error) bool {
	coded, ok := errors.AsType[interface {
		error
		ErrorCode() string
	}](err)
	return ok && coded.ErrorCode() == "NoSuchBucket"
}

// Get reads a blob and compares it with its name.
func (s *Store) Get(ctx context.Context, project string, name event.Hash, buf []byte) ([]byte, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.key(project, name))})
	if missing(err) {
		return nil, fmt.Errorf("get blob %s: %w", name, blob.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", name, err)
	}
	kept, err := readAll(out.Body, aws.ToInt64(out.ContentLength))
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return nil, fmt.Errorf("get blob %s: %w", name, err)
	}
	return s.codec.Unpack(name, kept, buf)
}

// readAll reads no more than the largest blob and its form take.
func readAll(r io.Reader, size int64) ([]byte, error) {
	const most = blob.MaxSize + 1
	b := bytes.NewBuffer(make([]byte, 0, max(0, min(size, most))+bytes.MinRead))
	_, err := b.ReadFrom(io.LimitReader(r, most+1))
	return b.Bytes(), err
}

// Projects lists the projects that have objects.
func (s *Store) Projects(ctx context.Context) ([]string, error) {
	start := s.prefix + projectPrefix
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &start, Delimiter: aws.String("/")})
	var projects []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list projects: %w", err)
		}
		for _, p := range page.CommonPrefixes {
			escaped := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), start), "/")
			project, err := url.PathUnescape(escaped)
			if err != nil {
				return nil, fmt.Errorf("list projects: the prefix %q: %w", aws.ToString(p.Prefix), err)
			}
			projects = append(projects, project)
		}
	}
	return projects, nil
}
