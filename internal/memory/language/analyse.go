// Package language reads text for retrieval: its terms, what sort of text it is,
// and the times that it speaks of. It is pure, knows no clock and asks no model.
package language

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
	"github.com/clipperhouse/uax29/v2/words"
)

// MaxTerm is the longest term in bytes; what is longer is cut.
const MaxTerm = 64

// MaxNames bounds the names of one text.
const MaxNames = 64

// Analysis is what retrieval reads in a text.
type Analysis struct {
	// Terms are the words of the text in order, each as often as it stands there:
	// segmented as Unicode says (UAX #29), lower-cased, without accents, without
	// English stop words, irregular forms as their base, and stemmed (Porter 2). Text that is written without
	// spaces (Chinese, Japanese, Korean, Thai and their neighbours) gives pairs of
	// neighbouring characters. A term may share the memory of the text.
	Terms []string
	// Words are what the terms were before they were stemmed, one for each.
	Words []string
	// Names are the terms of capitalised words whose capital is not owed to the
	// beginning of a sentence, each once, in order;
	// at most MaxNames.
	Names []string

	Question    bool // it asks something
	HasNumber   bool // a number, in digits or in words from two on
	HasTime     bool // an expression of time: yesterday, last week, in May, 2019
	FirstPerson bool // somebody speaks of themselves: I, my, we
}

// Analyse reads the text. The same text always has the same analysis; whatever
// the bytes of the text are, terms are valid UTF-8.
func Analyse(text string) Analysis {
	text = fold(text)
	r := reader{
		text:  text,
		out:   Analysis{Terms: make([]string, 0, len(text)/8+1), Words: make([]string, 0, len(text)/8+1)},
		start: true,
	}
	for tokens := words.FromString(text); tokens.Next(); {
		r.token(tokens.Value(), tokens.Start())
	}
	r.flushScript()
	r.namesAtStarts()
	r.out.Question = r.question || (!r.ended && r.asking)
	return r.out
}

// Term returns what Analyse makes of one word, and false where that is nothing,
// as of a stop word, or several terms.
func Term(word string) (string, bool) {
	terms := Analyse(word).Terms
	if len(terms) != 1 {
		return "", false
	}
	return terms[0], true
}

// reader holds what is known while a text is read from its beginning to its end.
type reader struct {
	text string
	out  Analysis
	stem snowballstem.Env

	start    bool // the next word begins a sentence
	ended    bool // the last sentence has its full stop
	question bool // a question mark was seen
	asking   bool // the last sentence begins as a question does
	words    int  // of the last sentence
	lower    bool // some word is written without a capital

	previous string // the last word, lower-cased
	month    bool   // it could be the name of a month, or a word: may, march
	capital  bool   // the last word was capitalised
	openers  []opener

	script      int // byte at which the last character of a run without spaces begins
	scriptEnd   int
	scriptChars int
}

// opener is a capitalised word at the beginning of a sentence.
type opener struct {
	term string
	name bool // something says that it is a name
}

// token reads one segment of the text, which begins at byte at.
func (r *reader) token(tok string, at int) {
	c, _ := utf8.DecodeRuneInString(tok)
	if !unicode.IsLetter(c) && !unicode.IsNumber(c) && c != '_' {
		r.flushScript()
		r.punctuation(tok, at)
		return
	}
	if isASCII(tok) {
		r.flushScript()
		r.segment(tok)
		return
	}
	begin := 0
	for i, c := range tok {
		if !unspaced(c) {
			continue
		}
		if begin < i {
			r.flushScript()
			r.segment(tok[begin:i])
		}
		begin = i + utf8.RuneLen(c)
		r.character(at+i, at+begin)
	}
	if begin < len(tok) {
		r.flushScript()
		r.segment(tok[begin:])
	}
}

func (r *reader) punctuation(tok string, at int) {
	switch tok[0] {
	case '?':
		if rest := r.text[at+len(tok):]; rest == "" || !isWordByte(rest[0]) {
			r.question = true
			r.endSentence()
		}
	case '.', '!', '\n', '\r':
		if titles[r.previous] {
			return
		}
		if tok[0] == '.' || tok[0] == '!' {
			r.ended = true
		}
		r.endSentence()
	case ':', ';', '"', '-', '*':
		r.capital = false
		r.start = r.start || tok[0] == ':' || tok[0] == '"'
	case ' ', '\t', '\'':
	default:
		r.capital = false
		r.previous = ""
		if strings.HasPrefix(tok, "\u3002") {
			r.ended = true
			r.endSentence()
		}
	}
}

func (r *reader) endSentence() {
	r.start, r.capital = true, false
	r.previous, r.words = "", 0
}

// segment reads a segment, which may be several words to us.
func (r *reader) segment(tok string) {
	if acronym(tok) {
		tok = strings.ReplaceAll(tok, ".", "")
	}
	for tok != "" {
		i := splitAt(tok)
		if i < 0 {
			r.word(tok)
			return
		}
		if i > 0 {
			r.word(tok[:i])
		}
		tok = tok[i+1:]
	}
}

func (r *reader) word(tok string) {
	base, possessive, negated := contraction(tok)
	lower := strings.ToLower(base)
	r.flags(base, lower)
	upper := lower != base && isUpper(base)
	if !upper && lower == base && base[0] > '9' {
		r.lower = true
	}
	term := ""
	if !negated && (!stopWords[lower] || (namesInCapitals[lower] && allCaps(base) && r.lower)) {
		term = r.term(lower)
		r.add(term, cut(lower))
	}
	r.name(term, lower, upper, possessive)
	r.previous, r.capital, r.start = lower, upper, false
	r.words++
	r.ended = false
}

func (r *reader) add(term, word string) {
	r.out.Terms = append(r.out.Terms, term)
	r.out.Words = append(r.out.Words, word)
}

// term stems a word that is lower-cased.
func (r *reader) term(lower string) string {
	digits := false
	for i := range len(lower) {
		c := lower[i]
		if c >= utf8.RuneSelf {
			return cut(lower)
		}
		digits = digits || ('0' <= c && c <= '9')
	}
	switch {
	case digits:
		return cut(ordinal(strings.ReplaceAll(lower, ",", "")))
	case len(lower) > MaxTerm:
		return lower[:MaxTerm]
	case len(lower) < 3:
		return lower
	}
	if base, ok := bases[lower]; ok {
		lower = base
	}
	r.stem.SetCurrent(lower)
	english.Stem(&r.stem)
	return r.stem.Current()
}

// character reads one character of a script without spaces, from byte at to end.
func (r *reader) character(at, end int) {
	if r.scriptChars > 0 && r.scriptEnd == at {
		r.add(r.text[r.script:end], r.text[r.script:end])
		r.scriptChars++
	} else {
		r.flushScript()
		r.scriptChars = 1
	}
	r.script, r.scriptEnd = at, end
	r.start, r.ended = false, false
}

// flushScript ends a run of such characters. One that stands alone is a term.
func (r *reader) flushScript() {
	if r.scriptChars == 1 {
		r.add(r.text[r.script:r.scriptEnd], r.text[r.script:r.scriptEnd])
	}
	r.scriptChars = 0
}

// splitAt returns the byte at which a token is two words, and -1 where it is one.
// A point between digits belongs to the number.
func splitAt(tok string) int {
	for i := range len(tok) {
		switch tok[i] {
		case '_', ':':
			return i
		case '.', ',':
			if i == 0 || i+1 == len(tok) || !isDigit(tok[i-1]) || !isDigit(tok[i+1]) {
				return i
			}
		}
	}
	return -1
}

// acronym reports whether the token is letters with points between them: U.S.A.
func acronym(tok string) bool {
	for i := range len(tok) {
		if (i%2 == 1) != (tok[i] == '.') || (i%2 == 0 && !isLetter(tok[i])) {
			return false
		}
	}
	return true
}

// contraction cuts off what is joined to a word by an apostrophe. The word of a
// negation (don't) is an auxiliary, and nothing to search for.
func contraction(tok string) (base string, possessive, negated bool) {
	i := strings.LastIndexByte(tok, '\'')
	if i < 0 {
		return tok, false, false
	}
	base = tok[:i]
	switch strings.ToLower(tok[i+1:]) {
	case "s":
		possessive = true
	case "t":
		negated = true
	case "re", "ve", "ll", "d", "m":
	default:
		base = tok
	}
	base = strings.ReplaceAll(base, "'", "")
	if base == "" {
		base = strings.ReplaceAll(tok, "'", "")
	}
	return base, possessive, negated
}

// ordinal returns the number of 7th, and other words as they are.
func ordinal(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	switch s[n:] {
	case "st", "nd", "rd", "th":
		if n > 0 {
			return s[:n]
		}
	}
	return s
}

func cut(s string) string {
	if len(s) <= MaxTerm {
		return s
	}
	n := MaxTerm
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
