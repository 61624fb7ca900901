package language

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	word tokenKind = iota + 1
	number
	mark // punctuation, or what means nothing to the parser
)

// token is a piece of a text in which times are looked for.
type token struct {
	kind       tokenKind
	text       string // lower-cased; of a word without its 's
	n          int    // of a number
	suffix     string // of a number: th, s
	capital    bool
	glued      bool // nothing stands between it and the token before it
	start, end int
}

// lex cuts the text into words, numbers and single marks.
func lex(text string) []token {
	tokens := make([]token, 0, len(text)/5+1)
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRuneInString(text[i:])
		var t token
		switch {
		case unicode.IsSpace(c):
			i += size
			continue
		case isDigit(text[i]):
			t = lexNumber(text, i)
		case unicode.IsLetter(c):
			t = lexWord(text, i, unicode.IsUpper(c))
		case c == '–' || c == '—':
			t = token{kind: mark, text: "-", start: i, end: i + size}
		case c == '’' || c == '‘':
			t = token{kind: mark, text: "'", start: i, end: i + size}
		default:
			t = token{kind: mark, text: text[i : i+size], start: i, end: i + size}
		}
		t.glued = len(tokens) > 0 && tokens[len(tokens)-1].end == i
		tokens = append(tokens, t)
		i = t.end
	}
	return tokens
}

func lexWord(text string, start int, capital bool) token {
	end := start
	for end < len(text) {
		c, size := utf8.DecodeRuneInString(text[end:])
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' {
			break
		}
		end += size
	}
	t := token{kind: word, text: strings.ToLower(text[start:end]), capital: capital, start: start, end: end}
	for _, s := range [...]string{"'s", "\u2019s"} {
		if strings.HasPrefix(text[end:], s) {
			t.end += len(s)
		}
	}
	return t
}

// lexNumber takes a whole number with its suffix. One with a fraction, and one
// that letters follow, is a mark.
func lexNumber(text string, start int) token {
	end := digits(text, start)
	t := token{kind: number, start: start, end: end}
	if rest := fraction(text, end); rest > end {
		t.kind, t.text, t.end = mark, text[start:rest], rest
		return t
	}
	if end-start > 4 {
		t.kind, t.text = mark, text[start:end]
		return t
	}
	for _, c := range []byte(text[start:end]) {
		t.n = t.n*10 + int(c-'0')
	}
	t.text = text[start:end]
	letters := end
	for letters < len(text) && isLetter(text[letters]) {
		letters++
	}
	switch suffix := strings.ToLower(text[end:letters]); suffix {
	case "":
	case "st", "nd", "rd", "th", "s":
		t.suffix, t.end = suffix, letters
	case "t", "z": // 2023-05-07T10:00
	default:
		t.kind, t.text, t.end = mark, text[start:letters], letters
	}
	return t
}

func digits(text string, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// fraction returns where the digits after points and commas end. 7,2023 is two
// numbers.
func fraction(text string, end int) int {
	i := end
	for i+1 < len(text) && (text[i] == '.' || text[i] == ',') && isDigit(text[i+1]) {
		next := digits(text, i+1)
		if text[i] == ',' && next-i == 5 {
			break
		}
		i = next
	}
	return i
}

func (p *dateParser) token(i int) token {
	if i < 0 || i >= len(p.tokens) {
		return token{}
	}
	return p.tokens[i]
}

// is reports whether the token is one of the words or marks.
func (p *dateParser) is(i int, words ...string) bool {
	return i >= 0 && i < len(p.tokens) && p.tokens[i].kind != number && slices.Contains(words, p.tokens[i].text)
}

// joined reports whether the mark stands between the tokens before and after it
// without a space.
func (p *dateParser) joined(i int, marks ...string) bool {
	return p.is(i, marks...) && p.token(i).glued && p.token(i+1).glued
}

// plain returns a number that is no part of something else: of a price, a time
// of day, a path.
func (p *dateParser) plain(i int) (token, bool) {
	t := p.token(i)
	if t.kind != number {
		return token{}, false
	}
	if t.glued && p.is(i-1, ":", ".", "/", "$", "€", "£", "#", "+", "@", "=", "_", "-", "&", "?", ",") {
		return token{}, false
	}
	if p.token(i+1).glued && p.is(i+1, "%", "°", "€", "_", "/") {
		return token{}, false
	}
	return t, !p.joined(i+1, ":")
}
