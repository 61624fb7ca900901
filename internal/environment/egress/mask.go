package egress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// leastMasked is how long a secret has to be, in bytes, for answers to be searched
// for it: what is shorter is found everywhere.
const leastMasked = 8

// mask has an answer show placeholders where the server repeats secrets, as they
// are or in the ways in which they may have been written.
func (p *pass) mask() *replacer {
	pairs := p.answer
	for _, a := range p.masked {
		if len(a.secret) < leastMasked {
			continue
		}
		for _, form := range forms(a.secret) {
			pairs = append(pairs[:len(pairs):len(pairs)], pair{old: form, new: a.placeholder})
		}
	}
	return newReplacer(pairs)
}

// forms are the ways in which servers write a text, most of them the same for
// most secrets.
func forms(s string) []string {
	quoted := inJSON(s)
	ascii := inASCII(quoted)
	return []string{
		s, url.QueryEscape(s), inQuery(s), url.PathEscape(s),
		quoted, ascii, strings.ReplaceAll(ascii, "/", `\/`), forHTML.Replace(quoted), forHTML.Replace(ascii),
	}
}

// forHTML writes JSON as it may stand in HTML.
var forHTML = strings.NewReplacer("&", `\u0026`, "<", `\u003c`, ">", `\u003e`)

// inASCII writes what is not ASCII as JSON may have it.
func inASCII(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		if u < utf8.RuneSelf {
			b.WriteByte(byte(u))
		} else {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// readable has the server answer in a form that can be searched.
func readable(h http.Header) {
	zipped := strings.Contains(strings.ToLower(strings.Join(h.Values("Accept-Encoding"), ",")), "gzip") && h.Get("Range") == ""
	h.Set("Accept-Encoding", "identity")
	if zipped {
		h.Set("Accept-Encoding", "gzip")
	}
}

// maskHeader masks the values in place.
func maskHeader(h http.Header, m *replacer) {
	for _, values := range h {
		for i, v := range values {
			values[i], _ = m.all(v) // nothing of an answer is refused
		}
	}
}

// maskAnswer masks an answer on its way, a short one as a whole.
func maskAnswer(resp *http.Response, m *replacer) error {
	maskHeader(resp.Header, m)
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Request.Method == http.MethodHead || resp.Body == http.NoBody {
		return nil
	}
	src := io.Reader(resp.Body)
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); {
	case encoding == "gzip" && resp.ContentLength != 0:
		src, resp.ContentLength = &unzipped{src: resp.Body}, -1
		resp.Header.Del("Content-Encoding")
	case encoding != "" && encoding != "identity":
		return nil // it was not asked for, and cannot be read
	}
	closer := resp.Body
	if resp.ContentLength < 0 || resp.ContentLength > maxFilled {
		resp.ContentLength = -1
		resp.Header.Del("Content-Length")
		resp.Body = &body{Reader: &trailed{Reader: m.reader(src), resp: resp, mask: m}, Closer: closer}
		return nil
	}
	b, err := io.ReadAll(src)
	if err != nil {
		return errors.New("the answer broke off")
	}
	maskHeader(resp.Trailer, m)
	masked, _, err := m.some(nil, b, true)
	if err != nil {
		return err
	}
	resp.ContentLength = int64(len(masked))
	resp.Header.Set("Content-Length", strconv.Itoa(len(masked)))
	resp.Body = &body{Reader: bytes.NewReader(masked), Closer: closer}
	return nil
}

// trailed masks what comes after a body, once that was read.
type trailed struct {
	io.Reader
	resp *http.Response
	mask *replacer
}

func (t *trailed) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if err != nil {
		maskHeader(t.resp.Trailer, t.mask)
	}
	return n, err
}

// unzipped begins when it is first read.
type unzipped struct {
	src io.Reader
	zip *gzip.Reader
}

func (u *unzipped) Read(p []byte) (int, error) {
	if u.zip == nil {
		var err error
		if u.zip, err = gzip.NewReader(u.src); err != nil {
			return 0, err
		}
	}
	return u.zip.Read(p)
}
