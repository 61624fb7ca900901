package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/snapshot"
)

// Codes of errors about paths.
const (
	codeNoFile   = "file_not_found"
	codeConflict = "path_conflict"
)

// treeError says what is wrong with a path below the workspace.
func treeError(err error, path, param string) error {
	shown := shownPath(path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &httpapi.Error{Status: http.StatusNotFound, Code: codeNoFile, Param: param, Message: "There is no file '" + shown + "'."}
	case errors.Is(err, fs.ErrInvalid), errors.Is(err, snapshot.ErrTooLarge):
		return httpapi.Invalid(param, "'"+shown+"' cannot be the path of a file: a name in it is too long, or there are too many.")
	case errors.Is(err, fs.ErrExist):
		return conflict(param, "'"+shown+"' cannot be a file: a folder is there, or a file where a folder would have to be.")
	}
	return err
}

func conflict(param, message string) error {
	return &httpapi.Error{Status: http.StatusConflict, Code: codeConflict, Param: param, Message: message}
}

// lookup returns what is at a path. Links are not followed: one that is there, or
// on the way, is an error.
func lookup(ctx context.Context, tree *snapshot.Tree, root event.Hash, rel string) (snapshot.Entry, error) {
	if err := noLinkAbove(ctx, tree, root, rel); err != nil {
		return snapshot.Entry{}, err
	}
	e, err := tree.Lookup(ctx, root, rel)
	if err == nil && e.Kind == snapshot.Link {
		err = linkError(rel)
	}
	return e, treeError(err, rel, "path")
}

// noLinkAbove refuses a path on whose way there is a link.
func noLinkAbove(ctx context.Context, tree *snapshot.Tree, root event.Hash, rel string) error {
	for i := range rel {
		if rel[i] != '/' {
			continue
		}
		e, err := tree.Lookup(ctx, root, rel[:i])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return treeError(err, rel, "path")
		case e.Kind == snapshot.Link:
			return linkError(rel[:i])
		}
	}
	return nil
}

func linkError(rel string) error {
	return conflict("path", "'"+shownPath(rel)+"' is a link, and links are not followed.")
}

// fileMode is that of files that clients put into a workspace.
const fileMode = 0o644

// placeFor refuses a path where no file can be put, and returns the mode of the
// file there.
func placeFor(ctx context.Context, tree *snapshot.Tree, root event.Hash, rel string) (fs.FileMode, error) {
	e, err := lookup(ctx, tree, root, rel)
	var none *httpapi.Error
	switch {
	case errors.As(err, &none) && none.Code == codeNoFile:
		return fileMode, nil
	case err != nil:
		return 0, err
	case e.Kind == snapshot.File:
		return e.Mode.Perm(), nil
	}
	return fileMode, nil
}

// furnished is the tree with the files put into it, as it is done when the
// environment is set up.
func furnished(ctx context.Context, tree *snapshot.Tree, root event.Hash, files []event.InlineFile) (event.Hash, error) {
	for i := range files {
		f := &files[i]
		next, err := furnish(ctx, tree, root, f)
		if err != nil {
			return root, treeError(fmt.Errorf("put the file %s in place: %w", f.Path, err), strings.TrimPrefix(f.Path, workspace+"/"), "environment.files")
		}
		root = next
	}
	return root, nil
}

func furnish(ctx context.Context, tree *snapshot.Tree, root event.Hash, f *event.InlineFile) (event.Hash, error) {
	rel := strings.TrimPrefix(f.Path, workspace+"/")
	if f.Tree.IsZero() {
		next, _, err := tree.WriteFile(ctx, root, rel, bytes.NewReader(f.Data), fileMode)
		return next, err
	}
	content, _, err := tree.OpenFile(ctx, f.Tree)
	if err != nil {
		return root, err
	}
	next, _, err := tree.WriteFile(ctx, root, rel, content, fileMode)
	return next, errors.Join(err, content.Close())
}
