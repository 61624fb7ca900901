package js

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// lasting returns the code with the declarations of its top level made such that
// later code may declare the same names again, as whoever tries something out
// does: const and let become var, and a class is assigned to one. Positions stay
// the same, but for what follows the beginning of a class in its line. Code that it cannot follow
// it leaves alone, for the interpreter to judge.
func lasting(code string) string {
	s := &scanner{src: code}
	if !s.scan() || len(s.open) > 0 {
		return code
	}
	var b bytes.Buffer
	done := 0
	for _, e := range s.edits {
		b.WriteString(code[done:e.from])
		b.WriteString(e.text)
		done = e.to
	}
	b.WriteString(code[done:])
	return b.String()
}

type edit struct {
	from, to int
	text     string
}

// scanner goes over the tokens of a script. It need not know the grammar, only
// where brackets open and close, and what is text and not code.
type scanner struct {
	src     string
	pos     int
	open    []byte // closing brackets that are to come; '`' where a template goes on
	prev    string // the token before; empty at the start
	newline bool   // there was one since
	class   bool   // a class of the top level was begun
	edits   []edit
}

// operators are words after which a slash begins a regular expression.
var operators = map[string]bool{
	"return": true, "typeof": true, "case": true, "do": true, "else": true, "in": true, "instanceof": true, "new": true, "void": true, "delete": true, "throw": true, "await": true, "yield": true, "of": true,
}

// className is the head of a class after its first word.
var className = regexp.MustCompile(`^\s+([\p{L}_$][\p{L}\p{N}_$]*)\s*(?:\sextends\s+([\p{L}\p{N}_$.]+)\s*)?\{`)

// operand stands for a token that is a value.
const operand = "0"

func (s *scanner) scan() bool {
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		switch {
		case c == '\n':
			s.newline = true
			s.pos++
		case c == ' ' || c == '\t' || c == '\r':
			s.pos++
		case strings.HasPrefix(s.src[s.pos:], "//"):
			s.skipTo("\n", 0)
		case strings.HasPrefix(s.src[s.pos:], "/*"):
			if !s.skipTo("*/", 2) {
				return false
			}
		case isWord(c):
			s.word()
		case !s.symbol(c):
			return false
		}
	}
	return true
}

// symbol goes over a token that is not a word, and reports whether it could.
func (s *scanner) symbol(c byte) bool {
	switch c {
	case '"', '\'':
		return s.quoted(c)
	case '`':
		s.pos++
		return s.template()
	case '/':
		if s.value() {
			s.punct(c)
			return true
		}
		return s.regexp()
	case '(', '[', '{':
		s.open = append(s.open, map[byte]byte{'(': ')', '[': ']', '{': '}'}[c])
	case ')', ']', '}':
		return s.closing(c)
	}
	s.punct(c)
	return true
}

func (s *scanner) closing(c byte) bool {
	if len(s.open) == 0 {
		return false
	}
	top := s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	if c == '}' && top == '`' {
		s.pos++
		return s.template()
	}
	s.punct(c)
	if c == '}' && len(s.open) == 0 && s.class {
		s.class = false
		s.edits = append(s.edits, edit{s.pos, s.pos, ";"})
		s.prev = ";"
	}
	return c == top
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c == '#' || c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (s *scanner) punct(c byte) {
	s.prev, s.newline = string(c), false
	s.pos++
}

// value reports whether the token before ends a value, so that a slash divides.
func (s *scanner) value() bool {
	if s.prev == "" {
		return false
	}
	c := s.prev[0]
	return isWord(c) && !operators[s.prev] || c == ')' || c == ']' || c == '}'
}

// begins reports whether a statement of the top level may begin here.
func (s *scanner) begins() bool {
	if len(s.open) > 0 || s.class {
		return false
	}
	return s.prev == "" || s.prev == ";" || s.prev == "}" || s.newline && s.value()
}

func (s *scanner) word() {
	start := s.pos
	for s.pos < len(s.src) && isWord(s.src[s.pos]) {
		s.pos++
	}
	w := s.src[start:s.pos]
	if s.begins() {
		rest := strings.TrimLeft(s.src[s.pos:], " \t\r\n")
		named := rest != "" && isWord(rest[0])
		switch {
		case (w == "const" || w == "let") && (named || strings.HasPrefix(rest, "[") || strings.HasPrefix(rest, "{")):
			s.edits = append(s.edits, edit{start, s.pos, "var  "[:len(w)]})
		case w == "class":
			// Where it extends more than a name, its end cannot be told from here.
			if m := className.FindStringSubmatch(s.src[s.pos:]); m != nil && m[2] != "class" {
				s.edits = append(s.edits, edit{start, start, "var " + m[1] + " = "})
				s.class = true
			}
		}
	}
	s.prev, s.newline = w, false
}

func (s *scanner) skipTo(end string, more int) bool {
	i := strings.Index(s.src[s.pos+more:], end)
	if i < 0 {
		s.pos = len(s.src)
		return false
	}
	s.newline = s.newline || strings.Contains(s.src[s.pos:s.pos+more+i], "\n")
	s.pos += more + i + len(end) - 1
	if end == "\n" {
		return true
	}
	s.pos++
	return true
}

func (s *scanner) quoted(quote byte) bool {
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch s.src[s.pos] {
		case '\\':
			s.pos++
		case '\n':
			return false
		case quote:
			s.pos++
			s.prev, s.newline = operand, false
			return true
		}
	}
	return false
}

// template goes over the text of a template, up to its end or to an expression
// in it.
func (s *scanner) template() bool {
	for ; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '\\':
			s.pos++
		case c == '`':
			s.pos++
			s.prev, s.newline = operand, false
			return true
		case c == '$' && strings.HasPrefix(s.src[s.pos:], "${"):
			s.pos += 2
			s.open = append(s.open, '`')
			s.prev, s.newline = "(", false
			return true
		}
	}
	return false
}

func (s *scanner) regexp() bool {
	set := false
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '\\':
			s.pos++
		case c == '\n':
			return false
		case c == '[':
			set = true
		case c == ']':
			set = false
		case c == '/' && !set:
			s.pos++
			s.prev, s.newline = operand, false
			return true
		}
	}
	return false
}
