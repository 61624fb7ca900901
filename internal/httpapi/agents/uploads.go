package agents

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store"
)

// savedUpload is what the store keeps of a file beside its content, which is the
// object's tree.
type savedUpload struct {
	Filename string      `json:"filename"`
	Purpose  string      `json:"purpose"`
	Bytes    int64       `json:"bytes"`
	Expires  *time.Time  `json:"expires,omitempty"`
	Created  event.Input `json:"created"`
}

var uploadKind = objectKind[savedUpload]{kind: store.KindFile, what: "file"}

// uploadForm is what a form with a file has, for the document.
type uploadForm struct {
	File    []byte `json:"file" contentEncoding:"binary"`
	Purpose string `json:"purpose" enum:"assistants,batch,fine-tune,vision,user_data,evals"`
	Anchor  string `json:"expires_after[anchor],omitzero" enum:"created_at"`
	Seconds int64  `json:"expires_after[seconds],omitzero" minimum:"3600" maximum:"2592000"`
}

var purposes = []string{"assistants", "batch", "fine-tune", "vision", "user_data", "evals"}

const (
	filesPath     = "/v1/files"
	maxUploads    = 10_000 // in one page
	shortestLife  = 3600   // seconds
	longestLife   = 2_592_000
	maxFormFields = 1 << 20 // bytes of a form beside the file
	maxFormField  = 256
	anchorField   = "expires_after[anchor]"
	secondsField  = "expires_after[seconds]"
)

func (a *api) uploadOperations() []httpapi.Operation {
	const one = filesPath + "/{file_id}"
	query := []httpapi.Param{
		{Name: "after", Doc: "Return what comes after the file with this id."},
		{Name: "limit", Doc: "How many to return, from 1 to 10000. Defaults to 10000.", Type: "integer"},
		{Name: "order", Doc: "asc or desc, by time of creation. Defaults to desc."},
		{Name: "purpose", Doc: "Only files with this purpose."},
	}
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: filesPath, ID: "uploadFile", Summary: "Upload a file", Upload: httpapi.MediaForm, Body: uploadForm{}, Result: uploadObject{}, Do: a.createUpload},
		{Method: http.MethodGet, Path: filesPath, ID: "listFiles", Summary: "List files", Query: query, Result: httpapi.List[uploadObject]{}, Do: a.listUploads},
		{Method: http.MethodGet, Path: one, ID: "getFile", Summary: "Get a file", Result: uploadObject{}, Do: a.getUpload},
		{Method: http.MethodGet, Path: one + "/content", ID: "getFileContent", Summary: "Download a file", Download: true, Do: a.uploadContent},
		{Method: http.MethodDelete, Path: one, ID: "deleteFile", Summary: "Delete a file", Result: deletedObject{}, Do: a.deleteUpload},
	}
}

type uploadObject struct {
	ID        string `json:"id"`
	Object    string `json:"object" enum:"file"`
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	ExpiresAt *int64 `json:"expires_at"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status" enum:"processed"`
}

func renderUpload(row *store.Object, up *savedUpload) uploadObject {
	o := uploadObject{
		ID: row.ID, Object: "file", Bytes: up.Bytes, CreatedAt: row.CreatedAt.Unix(), Filename: up.Filename, Purpose: up.Purpose, Status: "processed",
	}
	if up.Expires != nil {
		o.ExpiresAt = unix(*up.Expires)
	}
	return o
}

// upload returns a file that was uploaded. One that has expired is deleted.
func (a *api) upload(c *httpapi.Call, id string) (*store.Object, *savedUpload, error) {
	row, up, err := uploadKind.read(c, a, id)
	if err != nil {
		return nil, nil, err
	}
	if row.Tree == nil {
		return nil, nil, fmt.Errorf("file %s has no content: %w", id, store.ErrCorrupt)
	}
	if !a.expired(up) {
		return row, up, nil
	}
	if err := uploadKind.delete(c, a, id); err != nil {
		return nil, nil, err
	}
	return nil, nil, httpapi.NotFound("file", id)
}

func (a *api) expired(up *savedUpload) bool { return up.Expires != nil && !a.Now().Before(*up.Expires) }

// received is a form as far as it was read.
type received struct {
	fields map[string]string
	root   event.Hash
	up     savedUpload
	sum    string // of the content
	file   bool
}

func (a *api) createUpload(c *httpapi.Call) (any, error) {
	form, err := c.Form(maxFile + maxFormFields)
	if err != nil {
		return nil, err
	}
	got := &received{fields: map[string]string{}}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, formError(err)
		}
		if err := a.receive(c, part, got); err != nil {
			return nil, err
		}
	}
	if err := got.check(a.Now().UTC().Truncate(time.Second)); err != nil {
		return nil, err
	}
	c.Asked([]any{got.up.Filename, got.sum, got.fields})
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	got.up.Created = in
	id := idFor("file", in, c.Project)
	row, err := uploadKind.create(c, a, id, &got.up, &got.root)
	up := &got.up
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		row, up, err = a.upload(c, id)
		if err == nil && up.Created != in {
			err = keyReused()
		}
	}
	if err != nil {
		return nil, err
	}
	return renderUpload(row, up), nil
}

// formError tells a form that is wrong from a body that could not be read.
func formError(err error) error {
	var e *httpapi.Error
	var tooLarge *http.MaxBytesError
	if errors.As(err, &e) || errors.As(err, &tooLarge) {
		return err
	}
	return &httpapi.Error{Status: http.StatusBadRequest, Code: httpapi.CodeValue, Message: "The form cannot be read: " + err.Error() + "."}
}

// receive reads a part of the form. The content of the file goes where it stays.
func (a *api) receive(c *httpapi.Call, part *multipart.Part, got *received) error {
	name := part.FormName()
	if name == "file" {
		if got.file {
			return httpapi.Invalid("file", "Upload one file at a time.")
		}
		content := httpapi.NewUpload(&bounded{r: part, left: maxFile})
		root, size, err := snapshot.New(a.Blobs, c.Project).StoreFile(c.Context(), content)
		if err != nil {
			return err
		}
		got.file, got.root, got.sum = true, root, content.Sum()
		got.up.Filename, got.up.Bytes = part.FileName(), size
		return nil
	}
	if !slices.Contains([]string{"purpose", anchorField, secondsField}, name) {
		return &httpapi.Error{Status: http.StatusBadRequest, Code: httpapi.CodeUnknown, Param: name, Message: fmt.Sprintf("Unknown parameter: '%s'.", name)}
	}
	if _, twice := got.fields[name]; twice {
		return httpapi.Invalid(name, fmt.Sprintf("The parameter '%s' is given more than once.", name))
	}
	data, err := io.ReadAll(io.LimitReader(part, maxFormField))
	if err != nil {
		return formError(err)
	}
	got.fields[name] = string(data)
	return nil
}

// bounded gives no more than left bytes, and an error where there are more.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &http.MaxBytesError{Limit: maxFile}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = formError(err)
	}
	return n, err
}

// check refuses a form that is not whole, and takes its fields.
func (g *received) check(now time.Time) error {
	purpose, given := g.fields["purpose"]
	switch {
	case !g.file:
		return missing("file")
	case g.up.Filename == "" || strings.ContainsRune(g.up.Filename, 0):
		return httpapi.Invalid("file", "Give the file a name: Content-Disposition: form-data; name=\"file\"; filename=\"notes.txt\".")
	case !given:
		return missing("purpose")
	case !slices.Contains(purposes, purpose):
		return httpapi.Invalid("purpose", fmt.Sprintf("Invalid value: '%s'. Supported values are: '%s'.", purpose, strings.Join(purposes, "', '")))
	}
	g.up.Purpose = purpose
	anchor, hasAnchor := g.fields[anchorField]
	text, hasSeconds := g.fields[secondsField]
	switch {
	case !hasAnchor && !hasSeconds:
		return nil
	case !hasAnchor:
		return missing(anchorField)
	case !hasSeconds:
		return missing(secondsField)
	case anchor != "created_at":
		return httpapi.Invalid(anchorField, fmt.Sprintf("Invalid value: '%s'. Supported values are: 'created_at'.", anchor))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < shortestLife || seconds > longestLife {
		return httpapi.Invalid(secondsField, fmt.Sprintf("Invalid '%s': expected an integer from %d to %d, but got '%s'.", secondsField, shortestLife, longestLife, text))
	}
	expires := now.Add(time.Duration(seconds) * time.Second)
	g.up.Expires = &expires
	return nil
}

// uploadsPerRead is how many files are read from the store at a time.
const uploadsPerRead = 500

func (a *api) listUploads(c *httpapi.Call) (any, error) {
	p, err := c.PagesOf(maxUploads, maxUploads)
	if err != nil {
		return nil, err
	}
	purpose := c.URL.Query().Get("purpose")
	var found []uploadObject
	next := p
	for next.Limit = min(p.Limit, uploadsPerRead); len(found) <= p.Limit; {
		rows, err := uploadKind.list(c, a, next)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			up, err := uploadKind.decode(&rows[i])
			if err != nil {
				return nil, err
			}
			if !a.expired(up) && (purpose == "" || purpose == up.Purpose) {
				found = append(found, renderUpload(&rows[i], up))
			}
		}
		if len(rows) <= next.Limit {
			break
		}
		next.After = rows[len(rows)-1].ID
	}
	found = found[:min(len(found), p.Limit+1)]
	return httpapi.PageOf(found, p.Limit, func(o *uploadObject) string { return o.ID }), nil
}

func (a *api) getUpload(c *httpapi.Call) (any, error) {
	row, up, err := a.upload(c, c.Path("file_id"))
	if err != nil {
		return nil, err
	}
	return renderUpload(row, up), nil
}

func (a *api) uploadContent(c *httpapi.Call) (any, error) {
	row, up, err := a.upload(c, c.Path("file_id"))
	if err != nil {
		return nil, err
	}
	body, _, err := snapshot.New(a.Blobs, c.Project).OpenFile(c.Context(), *row.Tree)
	if err != nil {
		return nil, fmt.Errorf("open file %s: %w", row.ID, err)
	}
	return &httpapi.Content{Name: up.Filename, ETag: row.ID, ModTime: row.CreatedAt, Body: body}, nil
}

func (a *api) deleteUpload(c *httpapi.Call) (any, error) {
	id := c.Path("file_id")
	if err := uploadKind.delete(c, a, id); err != nil {
		return nil, err
	}
	return deletedObject{ID: id, Object: "file", Deleted: true}, nil
}
