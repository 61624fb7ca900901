package s3

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/event"
)

// Sweep lists the project's objects, and looks at each that is to go once more
// before it is deleted.
func (s *Store) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	start := s.projectKey(project)
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &start})
	var swept atomic.Int64
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return int(swept.Load()), fmt.Errorf("sweep blobs: %w", err)
		}
		g, running := errgroup.WithContext(ctx)
		g.SetLimit(requests)
		for i := range page.Contents {
			key := aws.ToString(page.Contents[i].Key)
			var name event.Hash
			n, err := hex.Decode(name[:], []byte(strings.TrimPrefix(key, start)))
			if err != nil || n != len(name) || !putBefore(page.Contents[i].LastModified, before) || keep(name) {
				continue
			}
			g.Go(func() error {
				gone, err := s.sweepObject(running, key, name, before)
				if gone {
					swept.Add(1)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return int(swept.Load()), fmt.Errorf("sweep blobs: %w", err)
		}
	}
	return int(swept.Load()), nil
}

func (s *Store) sweepObject(ctx context.Context, key string, name event.Hash, before time.Time) (bool, error) {
	lock := &s.locks[name[0]]
	lock.Lock()
	defer lock.Unlock()
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at blob %s: %w", name, err)
	}
	if !putBefore(head.LastModified, before) {
		return false, nil
	}
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}); err != nil {
		return false, fmt.Errorf("delete blob %s: %w", name, err)
	}
	return true, nil
}

// putBefore reports whether an object was put before a time, also where the
// bucket has cut off its fraction of a second.
func putBefore(modified *time.Time, before time.Time) bool {
	return modified != nil && modified.Truncate(time.Second).Add(time.Second).Before(before)
}
