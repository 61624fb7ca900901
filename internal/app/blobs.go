package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/cached"
	"github.com/stayd/stayd/internal/blob/folder"
	"github.com/stayd/stayd/internal/blob/s3"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store"
)

// blobsFolder is, in the data folder, where blobs are that are kept in a folder,
// and cacheFolder where copies are of those that are kept elsewhere.
const (
	blobsFolder = "blobs"
	cacheFolder = "cache"
)

// cacheBytes bounds the copies of blobs on this machine.
const cacheBytes = 4 << 30

// openBlobs opens the place that the configuration names. Copies of what is on
// another machine are kept on this one.
func openBlobs(ctx context.Context, cfg *Config, st store.Store) (blob.Store, error) {
	if cfg.Blobs == "folder" {
		return folder.Open(filepath.Join(cfg.Data, blobsFolder))
	}
	var remote blob.Store
	switch {
	case cfg.Blobs != "":
		c, err := bucket(cfg.Blobs)
		if err == nil {
			c.Outbound = cfg.outside(toBlobs)
			remote, err = s3.New(ctx, c)
		}
		if err != nil {
			return nil, err
		}
	case cfg.Store == "":
		return st.Blobs(), nil
	default:
		remote = st.Blobs()
	}
	return cached.New(remote, filepath.Join(cfg.Data, cacheFolder), cacheBytes)
}

// bucket reads s3://BUCKET/PREFIX?region=R&endpoint=URL.
func bucket(name string) (s3.Config, error) {
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		return s3.Config{}, fmt.Errorf(`blobs %q is neither "folder" nor s3://bucket/prefix; leave it empty to keep them in the store`, name)
	}
	q := u.Query()
	c := s3.Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Region: q.Get("region"), Endpoint: q.Get("endpoint")}
	c.PathStyle = c.Endpoint != ""
	c.Region = cmp.Or(c.Region, regionOf(c.Endpoint))
	for k := range q {
		if k != "region" && k != "endpoint" {
			return s3.Config{}, fmt.Errorf("blobs %q: there is no setting %q, only region and endpoint", name, k)
		}
	}
	return c, nil
}

// regionOf is the region that services other than AWS want to be told.
func regionOf(endpoint string) string {
	if endpoint == "" {
		return ""
	}
	return "us-east-1"
}

// blobGrace is how long a blob has to have been unused before it is removed. It
// is longer than any call or upload takes between its blobs and the record that
// names them.
const blobGrace = 24 * time.Hour

// collectBlobs removes what nothing names any more: of the store, and of the
// contents of workspaces and files.
func (a *App) collectBlobs(ctx context.Context) error {
	_, err := a.store.Collect(ctx, collectEvery)
	if _, blobErr := snapshot.Collect(ctx, a.blobs, a.store.Trees, blobGrace); blobErr != nil {
		err = errors.Join(err, fmt.Errorf("collect the contents of workspaces: %w", blobErr))
	}
	return err
}
