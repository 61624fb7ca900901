package egress_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
)

// zip answers compressed where the client takes it.
func zip(w http.ResponseWriter, r *http.Request, text string) {
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		io.WriteString(w, "not asked for: "+text)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	io.WriteString(z, text)
	z.Close()
}
