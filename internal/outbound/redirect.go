package outbound

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// carried are the headers that may follow a redirect to another origin. All
// others may be a credential: keys travel in headers of any name.
var carried = []string{"Accept", "Accept-Language", "Content-Type", "User-Agent", "Range"}

// redirects limits the redirects of a request, and what they take along.
func redirects(most int) func(*http.Request, []*http.Request) error {
	switch {
	case most == 0:
		most = 5
	case most < 0:
		return func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return func(req *http.Request, via []*http.Request) error {
		if len(via) > most {
			return fmt.Errorf("stopped after %d redirects", most)
		}
		if s := req.URL.Scheme; s != "http" && s != "https" {
			return fmt.Errorf("the redirect to the scheme %q is refused", s)
		}
		origin, left := via[0].URL, false
		for _, r := range append(via[1:len(via):len(via)], req) {
			if origin.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("the redirect from https to http is refused")
			}
			left = left || !sameOrigin(origin, r.URL)
		}
		if !left {
			return nil
		}
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			return fmt.Errorf("the redirect of a %s to another host, %s, is refused", req.Method, req.URL.Host)
		}
		keep := http.Header{}
		for _, k := range carried {
			if v := req.Header.Values(k); v != nil {
				keep[k] = v
			}
		}
		req.Header = keep //nolint:gosec // what is kept is no credential
		return nil
	}
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && hostPort(a) == hostPort(b)
}
