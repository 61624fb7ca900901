package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Content is a result that is bytes. It is sent as a download that no browser
// runs, whole or the ranges that were asked for, and closed then.
type Content struct {
	Name    string // of the file
	ETag    string // of this content, without quotes
	ModTime time.Time
	Body    io.ReadSeekCloser
}

// MediaBytes is the media type of bytes of which nothing is known.
const MediaBytes = "application/octet-stream"

// MediaForm is the media type of a form with files.
const MediaForm = "multipart/form-data"

// content answers with bytes.
func (c *Call) content(b *Content) {
	defer b.Body.Close() //nolint:errcheck // it was only read
	h := c.w.Header()
	h.Set("Content-Type", MediaBytes)
	h.Set("Content-Disposition", disposition(b.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	if b.ETag != "" {
		h.Set("ETag", `"`+b.ETag+`"`)
	}
	w := &patientWriter{ResponseWriter: c.w, control: http.NewResponseController(c.w)}
	http.ServeContent(w, c.Request, "", b.ModTime, &watchedReader{ReadSeeker: b.Body, call: c})
	// A deadline that stays would end the connection's next answer.
	_ = w.control.SetWriteDeadline(time.Time{}) // if it fails, the connection is gone
}

// disposition makes a download of an answer, whatever the name has in it.
func disposition(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%/`, r) {
			return '_'
		}
		return r
	}, name)
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}

// patientWriter gives a client writeTimeout for each piece, however many they are.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *patientWriter) Write(b []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

// watchedReader logs what goes wrong after the answer has begun. The client sees
// that it ends too soon.
type watchedReader struct {
	io.ReadSeeker
	call *Call
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && r.call.Context().Err() == nil {
		r.call.server.cfg.Log.Error("a download failed", "request_id", r.call.id, "route", r.call.route, "error", err)
	}
	return n, err
}

// Bytes is the request's body, read piece by piece and no further than limit
// bytes, whatever the limit of other bodies.
func (c *Call) Bytes(limit int64) (*Upload, error) {
	if c.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	body := &patientReader{r: http.MaxBytesReader(c.w, c.Body, limit), control: http.NewResponseController(c.w)}
	return &Upload{r: body, hash: sha256.New()}, nil
}

// Form reads the parts of a form with files as they come, no further than limit
// bytes in all.
func (c *Call) Form(limit int64) (*multipart.Reader, error) {
	kind, params, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || kind != MediaForm || params["boundary"] == "" {
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, Code: CodeValue, Param: "Content-Type",
			Message: "Send a form with a file: Content-Type: multipart/form-data with a boundary.",
		}
	}
	body, err := c.Bytes(limit)
	if err != nil {
		return nil, err
	}
	return multipart.NewReader(body, params["boundary"]), nil
}

// Upload is bytes that are read once. It knows their hash afterwards.
type Upload struct {
	r    io.Reader
	hash hash.Hash
}

// NewUpload is an upload of what r gives.
func NewUpload(r io.Reader) *Upload { return &Upload{r: r, hash: sha256.New()} }

func (u *Upload) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.hash.Write(p[:n])
	return n, err
}

// Sum is the SHA-256 of what was read.
func (u *Upload) Sum() string { return hex.EncodeToString(u.hash.Sum(nil)) }

// Asked says what the request asked for, where its body is not JSON, so that it
// is known again by Input.
func (c *Call) Asked(what any) { c.hash = c.hashOf(what) }

// patientReader gives a client writeTimeout for each piece, and says in words
// that a body ended too soon.
type patientReader struct {
	r       io.Reader
	control *http.ResponseController
}

func (p *patientReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := p.r.Read(b)
	// A deadline that stays would end the request while it is being answered.
	if resetErr := p.control.SetReadDeadline(time.Time{}); err == nil && resetErr != nil && !errors.Is(resetErr, http.ErrNotSupported) {
		err = resetErr
	}
	var tooLarge *http.MaxBytesError
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &tooLarge) {
		return n, err
	}
	return n, &Error{Status: http.StatusBadRequest, Code: CodeIncomplete, Message: "The request body ended before it was complete.", Err: fmt.Errorf("read the request body: %w", err)}
}

// Base is the URL of the server without a path, as the client knows it.
func (c *Call) Base() string {
	scheme := "http"
	if c.TLS != nil || c.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + c.Host
}
