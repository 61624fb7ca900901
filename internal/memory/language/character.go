package language

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// fold returns the text in the spelling that is searched: compatible characters
// as one (full width, ligatures), letters without accents, one apostrophe.
func fold(text string) string {
	if isASCII(text) {
		return text
	}
	text = norm.NFKD.String(strings.ToValidUTF8(text, " "))
	var b strings.Builder
	b.Grow(len(text))
	for _, c := range text {
		switch {
		case c < utf8.RuneSelf:
			b.WriteByte(byte(c))
		case 0x300 <= c && c <= 0x36f: // combining accents
		case 0x64b <= c && c <= 0x65f: // Arabic vowel signs
		default:
			if plain, ok := letters[c]; ok {
				b.WriteString(plain)
			} else {
				b.WriteRune(c)
			}
		}
	}
	return norm.NFC.String(b.String())
}

// letters are those that are not a plain letter and an accent to Unicode, but are
// written so by people without the key.
var letters = map[rune]string{
	'’': "'", '‘': "'", 'ʼ': "'", '‛': "'", '“': `"`, '”': `"`, '«': `"`, '»': `"`, '–': "-", '—': "-",
	'ß': "ss", 'ẞ': "SS", 'æ': "ae", 'Æ': "Ae", 'œ': "oe", 'Œ': "Oe", 'ø': "o", 'Ø': "O",
	'ł': "l", 'Ł': "L", 'đ': "d", 'Đ': "D", 'ð': "d", 'Ð': "D", 'þ': "th", 'Þ': "Th", 'ı': "i",
}

// unspaced reports whether the character is of a script whose words are not, or
// not enough, told apart by spaces.
func unspaced(c rune) bool {
	return c >= 0xe00 && (c == 'ー' || unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func isUpper(word string) bool {
	c, _ := utf8.DecodeRuneInString(word)
	return unicode.IsUpper(c)
}

func allCaps(word string) bool {
	for i := range len(word) {
		if word[i] < 'A' || word[i] > 'Z' {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLetter(c byte) bool   { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isWordByte(c byte) bool { return isDigit(c) || isLetter(c) || c == '_' || c == '=' || c == '&' }
