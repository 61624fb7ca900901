package agents

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store"
)

func (a *api) environmentFileOperations() []httpapi.Operation {
	const all = environmentsPath + "/{environment_id}/files"
	one := []httpapi.Param{{Name: "path", Doc: "The absolute path of the file, below /workspace."}}
	return []httpapi.Operation{
		{Method: http.MethodGet, Path: all, ID: "listEnvironmentFiles", Summary: "List the files of an environment", Query: []httpapi.Param{
			{Name: "path", Doc: "Only files in this folder and those below it."},
			{Name: "limit", Doc: "How many to return, from 1 to 100. Defaults to 20.", Type: "integer"},
			{Name: "order", Doc: "asc or desc, by the parts of the path. Defaults to desc."},
			{Name: "page", Doc: "What the page before has as next. Keep path, order and limit."},
		}, Result: filePage{}, Do: a.listEnvironmentFiles},
		{Method: http.MethodPost, Path: all, ID: "createEnvironmentFile", Summary: "Put a file into an environment", Body: fileBody{}, Result: environmentFile{}, Do: a.createEnvironmentFile},
		{Method: http.MethodDelete, Path: all, ID: "deleteEnvironmentFile", Summary: "Delete a file, or a folder with all that is in it", Query: one, Result: deletedFile{}, Do: a.deleteEnvironmentFile},
		{Method: http.MethodGet, Path: all + "/content", ID: "getEnvironmentFileContent", Summary: "Download a file of an environment", Query: one, Download: true, Do: a.environmentFileContent},
		{Method: http.MethodPut, Path: all + "/content", ID: "putEnvironmentFileContent", Summary: "Upload a file to an environment", Query: one, Upload: httpapi.MediaBytes, Result: environmentFile{}, Do: a.putEnvironmentFile},
	}
}

type environmentFile struct {
	Object        string `json:"object" enum:"agent.environment.file"`
	EnvironmentID string `json:"environment_id"`
	Path          string `json:"path"`
	SizeBytes     int64  `json:"size_bytes"`
}

func renderFile(environmentID string, e *snapshot.Entry) environmentFile {
	return environmentFile{Object: "agent.environment.file", EnvironmentID: environmentID, Path: shownPath(e.Path), SizeBytes: e.Size}
}

type deletedFile struct {
	Object        string `json:"object" enum:"agent.environment.file.deleted"`
	EnvironmentID string `json:"environment_id"`
	Path          string `json:"path"`
	Deleted       bool   `json:"deleted"`
}

// hostedRoom is an environment whose files this server keeps, and the tree of
// them.
func (a *api) hostedRoom(c *httpapi.Call, key string) (*room, event.Hash, error) {
	r, err := a.room(c, c.Path("environment_id"), key)
	if err != nil {
		return nil, event.Hash{}, err
	}
	if r.env.Type != event.EnvironmentHosted {
		return nil, event.Hash{}, &httpapi.Error{
			Status: http.StatusBadRequest, Code: httpapi.CodeUnsupported,
			Message: "The files of a self-hosted environment are on the machine that connects. This server does not keep them.",
		}
	}
	root := r.held
	if r.furnish {
		root, err = furnished(c.Context(), snapshot.New(a.Blobs, c.Project), r.held, r.env.Files)
	}
	return r, root, err
}

func (a *api) environmentFileContent(c *httpapi.Call) (any, error) {
	_, root, err := a.hostedRoom(c, "")
	if err != nil {
		return nil, err
	}
	rel, err := below("path", c.URL.Query().Get("path"))
	if err != nil {
		return nil, err
	}
	tree := snapshot.New(a.Blobs, c.Project)
	e, err := lookup(c.Context(), tree, root, rel)
	switch {
	case err != nil:
		return nil, err
	case e.Kind == snapshot.Dir:
		return nil, conflict("path", "'"+shownPath(rel)+"' is a folder, not a file.")
	}
	body, e, err := tree.Open(c.Context(), root, rel)
	if err != nil {
		return nil, treeError(err, rel, "path")
	}
	return &httpapi.Content{Name: path.Base(rel), ETag: event.DeriveID("file", root.String(), rel), ModTime: e.ModTime, Body: body}, nil
}

func (a *api) createEnvironmentFile(c *httpapi.Call) (any, error) {
	var body fileBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if _, err := a.room(c, c.Path("environment_id"), ""); err != nil {
		return nil, err
	}
	f, err := a.file(c, &body, "")
	if err != nil {
		return nil, err
	}
	content := io.NopCloser(io.Reader(strings.NewReader(string(f.Data))))
	if f.FileID != "" {
		stored, _, err := snapshot.New(a.Blobs, c.Project).OpenFile(c.Context(), f.Tree)
		if err != nil {
			return nil, fmt.Errorf("open file %s: %w", f.FileID, err)
		}
		content = stored
	}
	defer content.Close() //nolint:errcheck // it was only read
	rel := strings.TrimPrefix(f.Path, workspace+"/")
	return a.put(c, rel, content, func() (event.Input, error) { return in, nil })
}

// maxFile is the size in bytes of the largest file that is taken.
const maxFile = 5 << 30

func (a *api) putEnvironmentFile(c *httpapi.Call) (any, error) {
	if _, err := a.room(c, c.Path("environment_id"), ""); err != nil {
		return nil, err
	}
	p := c.URL.Query().Get("path")
	rel, err := below("path", p)
	if err != nil {
		return nil, err
	}
	body, err := c.Bytes(maxFile)
	if err != nil {
		return nil, err
	}
	return a.put(c, rel, body, func() (event.Input, error) {
		c.Asked([]string{p, body.Sum()})
		return c.Input()
	})
}

// put writes a file. What the request asked is known once the content was read.
func (a *api) put(c *httpapi.Call, rel string, content io.Reader, asked func() (event.Input, error)) (any, error) {
	var written snapshot.Entry
	edit := &edit{rel: rel}
	edit.change = func(tree *snapshot.Tree, root event.Hash) (event.Hash, error) {
		mode, err := placeFor(c.Context(), tree, root, rel)
		if err != nil {
			return root, err
		}
		from := content
		if !edit.made.IsZero() {
			// The content was read, for a workspace that has changed since.
			again, _, err := tree.Open(c.Context(), edit.made, rel)
			if err != nil {
				return root, fmt.Errorf("read what was uploaded: %w", err)
			}
			defer again.Close() //nolint:errcheck // it was only read
			from = again
		}
		next, e, err := tree.WriteFile(c.Context(), root, rel, from, mode)
		written = e
		return next, treeError(err, rel, "path")
	}
	if err := a.edit(c, edit, asked); err != nil {
		return nil, err
	}
	return renderFile(c.Path("environment_id"), &written), nil
}

func (a *api) deleteEnvironmentFile(c *httpapi.Call) (any, error) {
	if _, err := a.room(c, c.Path("environment_id"), ""); err != nil {
		return nil, err
	}
	p := c.URL.Query().Get("path")
	rel, err := below("path", p)
	if err != nil {
		return nil, err
	}
	gone := errors.New("gone already")
	edit := &edit{rel: rel, change: func(tree *snapshot.Tree, root event.Hash) (event.Hash, error) {
		if err := noLinkAbove(c.Context(), tree, root, rel); err != nil {
			return root, err
		}
		next, err := tree.Remove(c.Context(), root, rel)
		if errors.Is(err, fs.ErrNotExist) && c.Header.Get("Idempotency-Key") != "" {
			return root, gone // by the same request, perhaps
		}
		return next, treeError(err, rel, "path")
	}, unchanged: gone}
	err = a.edit(c, edit, func() (event.Input, error) {
		c.Asked(p)
		return c.Input()
	})
	if errors.Is(err, gone) {
		err = treeError(fs.ErrNotExist, rel, "path")
	}
	if err != nil {
		return nil, err
	}
	return deletedFile{Object: "agent.environment.file.deleted", EnvironmentID: c.Path("environment_id"), Path: p, Deleted: true}, nil
}

// edit is a change of the files of an environment.
type edit struct {
	rel    string // what is changed
	change func(tree *snapshot.Tree, root event.Hash) (event.Hash, error)
	made   event.Hash // what came of the last change
	// unchanged is an error of change after which a repeated request is still
	// answered as one that was done.
	unchanged error
}

// errMoved is that the workspace is not what was changed.
var errMoved = errors.New("the workspace has changed")

// edit changes the environment's files and writes that down. Where they changed
// meanwhile it begins again.
func (a *api) edit(c *httpapi.Call, e *edit, asked func() (event.Input, error)) error {
	tree := snapshot.New(a.Blobs, c.Project)
	for n := 1; ; n++ {
		r, root, err := a.hostedRoom(c, c.Header.Get("Idempotency-Key"))
		if err != nil {
			return err
		}
		if err := r.editable(e.rel); err != nil && !r.taken {
			return err
		}
		made, err := e.change(tree, root)
		undone := err != nil && e.unchanged != nil && errors.Is(err, e.unchanged)
		if err != nil && !undone {
			return err
		}
		e.made = made
		in, inErr := asked()
		if inErr != nil {
			return inErr
		}
		if r.session != "" {
			err = a.note(c, r, tree, made, in, err)
		} else {
			err = a.keep(c, r, made, in, err)
		}
		if !errors.Is(err, errMoved) || n == updateAttempts {
			return err
		}
	}
}

// editable refuses a change while a turn runs, and of files that are yet to be
// put into the workspace, which would undo it.
func (r *room) editable(rel string) error {
	if r.busy {
		return &httpapi.Error{Status: http.StatusConflict, Code: codeBusy, Message: "A turn runs in this environment. Change its files between turns."}
	}
	for i := range r.env.Files {
		first := strings.TrimPrefix(r.env.Files[i].Path, workspace+"/")
		if r.furnish && (first == rel || strings.HasPrefix(first, rel+"/")) {
			return conflict("path", "'"+r.env.Files[i].Path+"' is put into the workspace when the environment is set up, by the first turn. Change it after that.")
		}
	}
	return nil
}

const codeBusy = "environment_busy"

// note appends to the session's log what the workspace now holds. undone is why
// nothing was changed.
func (a *api) note(c *httpapi.Call, r *room, tree *snapshot.Tree, made event.Hash, in event.Input, undone error) error {
	files, bytes, err := tree.Size(c.Context(), made)
	if err != nil {
		return fmt.Errorf("measure the workspace: %w", err)
	}
	err = a.Journal.Update(c.Context(), c.Project, r.session, func(tx *journal.Tx) error {
		repeated, err := tx.State.Repeated(in)
		switch {
		case repeated || err != nil:
			return err
		case undone != nil:
			return undone
		case tx.State.Place.Root != r.held, (tx.State.Current() != nil) != r.busy:
			return errMoved
		}
		return tx.Append(&event.Snapshot{Input: in, Root: made, Files: files, Bytes: bytes})
	})
	if errors.Is(err, store.ErrNotFound) {
		return httpapi.NotFound("environment", r.env.ID)
	}
	return err
}

// keep is note for a prepared environment.
func (a *api) keep(c *httpapi.Call, r *room, made event.Hash, in event.Input, undone error) error {
	repeated, err := r.pre.Updated.repeated(in)
	switch {
	case repeated || err != nil:
		return err
	case undone != nil:
		return undone
	}
	r.row.Tree = orNoTree(made)
	err = environmentKind.update(c, a, r.row, r.pre)
	if errors.Is(err, store.ErrConflict) {
		return errMoved
	}
	return err
}
