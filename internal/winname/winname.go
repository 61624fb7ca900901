// Package winname knows which names Windows can give a file. It asks no Windows:
// what it says is the same on every system.
package winname

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// reserved are devices, whatever folder they are looked for in, and whatever
// extension follows.
var reserved = map[string]bool{"CON": true, "PRN": true, "AUX": true, "NUL": true, "CONIN$": true, "CONOUT$": true}

// maxUnits is how long a name may be, in units of UTF-16.
const maxUnits = 255

// Check says why a file or a folder on Windows cannot have a name, which is one
// part of a path. The error may be shown to the agent.
func Check(name string) error {
	for i := range len(name) {
		if c := name[i]; c < ' ' || strings.IndexByte(`<>:"/\|?*`, c) >= 0 {
			return fmt.Errorf("%q can be no file's name on Windows: it holds %q; choose another name", name, c)
		}
	}
	switch {
	case name == "":
		return fmt.Errorf("%q can be no file's name; choose another name", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%q can be no file's name on Windows: it is not UTF-8; choose another name", name)
	case len(utf16.Encode([]rune(name))) > maxUnits:
		return fmt.Errorf("the name %.20q... is too long: Windows takes %d characters; choose another name", name, maxUnits)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("%q can be no file's name on Windows: it ends in a dot or a space; choose another name", name)
	case isDevice(name):
		return fmt.Errorf("%q can be no file's name on Windows: it is a device; choose another name", name)
	}
	return nil
}

func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	if reserved[base] {
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	number, size := utf8.DecodeRuneInString(port)
	return ok && size == len(port) && strings.ContainsRune("0123456789¹²³", number)
}

// Key is equal for two names that are one to Windows, which does not tell capital
// letters from small ones.
func Key(name string) string { return strings.ToUpper(name) }

// Escape returns a name for s that Windows can have, and that is one with that of
// no other text. url.PathUnescape undoes it. A name is not to begin with it, since
// it may be a device.
func Escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
