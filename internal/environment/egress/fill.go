package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Bounds on what is held of one request, in bytes.
const (
	// maxFilled is how long a body may be whose length was told: it is read as a
	// whole, since the length is another with the secrets in it.
	maxFilled = 1 << 20
	// maxHead is how much all secrets may take that are put into the URL and the
	// header, and maxGrown those that are put into such a body.
	maxHead  = 1 << 20
	maxGrown = 8 << 20
)

// escape writes a secret as it has to be where the placeholder stood.
type escape func(string) string

func plainly(s string) string { return s }

func inQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// inJSON writes it as a part of a JSON string.
func inJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) //nolint:errcheck,errchkjson,gosec // strings can always be encoded
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}

// texts are what is replaced where secrets are written in that way.
func (p *pass) texts(e escape) *replacer {
	pairs := p.refused
	for _, a := range p.allowed {
		pairs = append(pairs[:len(pairs):len(pairs)], pair{old: a.placeholder, new: e(a.secret)})
	}
	return newReplacer(pairs)
}

// fill puts the secrets into the request, whose header has to be its own. The
// error is a *refusal.
func (p *pass) fill(r *http.Request) error {
	if err := p.fillURL(r.URL); err != nil {
		return err
	}
	if err := p.fillHeader(r.Header); err != nil {
		return err
	}
	return p.fillBody(r)
}

func (p *pass) fillURL(u *url.URL) error {
	path, err := p.fillText(u.EscapedPath(), url.PathEscape)
	if err != nil {
		return err
	}
	if u.RawQuery, err = p.fillText(u.RawQuery, inQuery); err != nil {
		return err
	}
	if u.Path, err = url.PathUnescape(path); err != nil {
		return invalid("the path of the URL is not well formed")
	}
	u.RawPath = path
	return nil
}

func (p *pass) fillHeader(h http.Header) error {
	texts := p.texts(plainly)
	for name, values := range h {
		for i, v := range values {
			filled, err := p.fillValue(v, texts)
			if err != nil {
				return err
			}
			if !httpguts.ValidHeaderFieldValue(filled) {
				return invalid("the secret for the header %s has characters that a header cannot have", name)
			}
			values[i] = filled
		}
	}
	return nil
}

// fillValue fills the value of a header. In that of Basic (RFC 7617), user and
// password are in base64.
func (p *pass) fillValue(v string, texts *replacer) (string, error) {
	scheme, encoded, found := strings.Cut(v, " ")
	if !found || !strings.EqualFold(scheme, "Basic") {
		return p.replace(v, texts)
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || !bytes.Contains(plain, []byte(mark)) {
		return p.replace(v, texts)
	}
	filled, err := p.replace(string(plain), texts)
	if err != nil {
		return "", err
	}
	again := base64.StdEncoding.EncodeToString([]byte(filled))
	p.answer = append(p.answer, pair{old: again, new: encoded})
	return scheme + " " + again, nil
}

func (p *pass) fillText(s string, e escape) (string, error) {
	if !strings.Contains(s, mark) {
		return s, nil
	}
	return p.replace(s, p.texts(e))
}

// replace refuses a placeholder that is none of this environment: of an earlier
// opening of it, most likely.
func (p *pass) replace(s string, texts *replacer) (string, error) {
	for rest := s; ; {
		i := strings.Index(rest, mark)
		if i < 0 {
			break
		}
		rest = rest[i:]
		if c := rest[:min(len(rest), markLength)]; isPlaceholder(c) && !p.known[c] {
			return "", &refusal{code: "placeholder_unknown", message: "the request has a placeholder of a secret that this environment does not know any more, so nothing was sent; they are new each time the environment is opened: take it from the environment variable again"}
		}
		rest = rest[len(mark):]
	}
	if p.head += p.taken(s); p.head > maxHead {
		return "", &refusal{code: "too_many_secrets", message: fmt.Sprintf("the secrets for the URL and the header of the request take more than %d bytes", maxHead)}
	}
	return texts.all(s)
}

// taken is how many bytes of secrets come into a text, before they are escaped.
func (p *pass) taken(s string) int {
	n := 0
	for _, a := range p.allowed {
		n += strings.Count(s, a.placeholder) * len(a.secret)
	}
	return n
}

// maxEscaped is how many bytes one of a secret may take.
const maxEscaped = 6

func isPlaceholder(s string) bool {
	return len(s) == markLength && strings.Trim(s[len(mark):], "0123456789abcdef") == ""
}

// fillBody reads a short body whose length was told. What is longer goes as it
// is, and a placeholder in it is refused; without a length, it is filled on its
// way.
func (p *pass) fillBody(r *http.Request) error {
	texts := p.texts(escapeFor(r.Header.Get("Content-Type")))
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		return nil
	case r.ContentLength < 0:
		r.Body = &body{Reader: texts.reader(r.Body), Closer: r.Body}
		return nil
	case r.ContentLength > maxFilled:
		r.Body = &body{Reader: p.refusing(r.ContentLength).reader(r.Body), Closer: r.Body}
		return nil
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return &refusal{code: "failed", message: "the request's body broke off"}
	}
	if p.taken(string(b))*maxEscaped > maxGrown {
		return &refusal{code: "too_many_secrets", message: fmt.Sprintf("the secrets for the body of the request take more than %d bytes; send it chunked", maxGrown)}
	}
	filled, _, err := texts.some(nil, b, true)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = &body{Reader: bytes.NewReader(filled), Closer: r.Body}, int64(len(filled))
	r.Header.Del("Expect") // it was answered
	return nil
}

// body is a body that is read in another way.
type body struct {
	io.Reader
	io.Closer
}

// refusing lets no placeholder pass.
func (p *pass) refusing(length int64) *replacer {
	r := &refusal{code: "body_too_long", message: fmt.Sprintf("the request has a placeholder of a secret in a body of %d bytes, and into one whose length is told secrets are put up to %d bytes; put it into a header, or send the body chunked", length, maxFilled)}
	pairs := p.refused
	for _, a := range p.allowed {
		pairs = append(pairs[:len(pairs):len(pairs)], pair{old: a.placeholder, refused: r})
	}
	return newReplacer(pairs)
}

// escapeFor is how a secret is written in a body of that type.
func escapeFor(contentType string) escape {
	kind, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return plainly
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return inJSON
	case kind == "application/x-www-form-urlencoded":
		return inQuery
	}
	return plainly
}
