package app

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/folder"
	"github.com/stayd/stayd/internal/store"
)

// Where the contents of workspaces and files are kept.
const (
	BlobsInStore  = ""       // beside the log
	BlobsInFolder = "folder" // in the data folder
)

// openBlobs opens what the configuration names.
func openBlobs(_ context.Context, cfg *Config, st store.Store) (blob.Store, error) {
	_ = st
	switch {
	default:
		return folder.Open(filepath.Join(cfg.Data, "blobs"))
	}
}

// checkBlobs reports what is wrong with the name of a place for blobs.
func checkBlobs(name string) error {
	if name == BlobsInStore || name == BlobsInFolder {
		return nil
	}
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		return fmt.Errorf("blobs %q is neither %q nor s3://bucket/prefix; leave it empty to keep them in the store", strings.TrimSpace(name), BlobsInFolder)
	}
	return nil
}
