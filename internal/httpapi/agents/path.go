package agents

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/httpapi"
)

const workspace = "/workspace"

// below returns what of a path of a file follows the workspace. It refuses, with
// the name of the parameter, every path that is not plainly below it: those that
// are written in a way that some other program could take for another path too.
func below(param, p string) (string, error) {
	rel, ok := strings.CutPrefix(p, workspace+"/")
	if ok && plain(rel) {
		return rel, nil
	}
	return "", httpapi.Invalid(param, fmt.Sprintf("Invalid '%s': expected an absolute path under %s, like %s/notes.txt.", param, workspace, workspace))
}

// folderBelow is below for a folder, which may be the workspace itself.
func folderBelow(param, p string) (string, error) {
	if p == "" || p == workspace {
		return "", nil
	}
	return below(param, p)
}

// longestPath is in bytes; what operating systems take.
const longestPath = 4096

// plain reports whether the path has one reading only.
func plain(rel string) bool {
	if rel == "" || len(rel) > longestPath || path.Clean("/"+rel) != "/"+rel || !utf8.ValidString(rel) {
		return false
	}
	for name := range strings.SplitSeq(rel, "/") {
		if !plainName(name) {
			return false
		}
	}
	return true
}

// plainName refuses names that mean a folder above in some spelling: with other
// slashes, encoded (any number of times), with trailing dots and spaces that some
// systems drop, or with characters that only look like dots and slashes.
func plainName(name string) bool {
	for range 8 {
		if !plainSpelling(name) {
			return false
		}
		decoded, err := url.PathUnescape(name)
		if err != nil || decoded == name {
			return true
		}
		name = decoded
	}
	return false
}

// lookalikes are characters that some programs turn into dots and slashes.
var lookalikes = strings.NewReplacer(
	"\u2024", ".", "\u2025", "..", "\u2026", "...", "\uFF0E", ".", "\uFE52", ".", "\u3002", ".", "\uFF61", ".",
	"\uFF0F", "/", "\u2044", "/", "\u2215", "/", "\u29F8", "/", "\uFF3C", "\\", "\u2216", "\\", "\uFE68", "\\", "\u29F5", "\\",
)

func plainSpelling(name string) bool {
	seen := lookalikes.Replace(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1 // not seen at all
		}
		return r
	}, name))
	if strings.ContainsAny(seen, `/\`) || strings.Trim(seen, ". ") == "" || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) })
}
