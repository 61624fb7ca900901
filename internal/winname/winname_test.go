package winname_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/winname"
)

func TestCheck(t *testing.T) {
	for _, name := range []string{
		"a", "report.csv", ".hidden", "a b", "ä", "日本", "console", "com", "com10", "lpt", "nul1", "COM5x", "a.con", "comma.txt", "auxiliary", "~$x", "com⁴",
		strings.Repeat("ä", 255),
	} {
		if err := winname.Check(name); err != nil {
			t.Errorf("%q was refused: %v", name, err)
		}
	}
	for name, why := range map[string]string{
		"a:b": "holds ':'", "a\\b": `holds '\\'`, "a/b": "holds '/'", "what?": "holds '?'", "a*": "holds '*'", "<": "holds '<'", "a>": "holds '>'", `"`: `holds '"'`,
		"a|b": "holds '|'", "a\nb": `holds '\n'`, "a\x00": `holds '\x00'`,
		"a.": "ends in a dot", "a ": "ends in a dot or a space", "...": "ends in a dot", ".": "ends in a dot",
		"con": "is a device", "CON": "is a device", "Nul.txt": "is a device", "aux.tar.gz": "is a device", "prn .x": "is a device",
		"com1": "is a device", "LPT9.log": "is a device", "com²": "is a device", "conin$": "is a device", "CONOUT$.x": "is a device",
		strings.Repeat("ä", 256): "is too long", strings.Repeat("🙂", 128): "is too long",
		"\xff": "is not UTF-8", "": "no file's name",
	} {
		if err := winname.Check(name); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "choose another name") {
			t.Errorf("%q: %v, want it to say %q", name, err, why)
		}
	}
}

func TestKey(t *testing.T) {
	if winname.Key("Readme.MD") != winname.Key("README.md") || winname.Key("Ä") != winname.Key("ä") {
		t.Error("names that are one to Windows have two keys")
	}
	if winname.Key("a") == winname.Key("b") {
		t.Error("two names have one key")
	}
}

func TestEscape(t *testing.T) {
	for _, s := range []string{"proj_1", "Proj", "proj", "a:b", "a.", "ä", "100%", "", "\xff"} {
		escaped := winname.Escape(s)
		if err := winname.Check("p-" + escaped); err != nil {
			t.Error(err)
		}
		if back, err := url.PathUnescape(escaped); err != nil || back != s {
			t.Errorf("%q became %q, and then %q (%v)", s, escaped, back, err)
		}
	}
	if winname.Key(winname.Escape("Proj")) == winname.Key(winname.Escape("proj")) {
		t.Error("two texts have one name")
	}
}
