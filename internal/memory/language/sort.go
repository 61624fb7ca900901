package language

import (
	"slices"
	"strings"
)

// flags reads what a word says about the sort of text that it stands in.
func (r *reader) flags(base, lower string) {
	digit := isDigit(lower[0])
	r.out.HasNumber = r.out.HasNumber || digit || numbers[lower] > 1
	r.out.HasTime = r.out.HasTime || timeWords[lower] || (digit && isYear(lower)) || r.monthAt(base, lower, digit)
	r.month = mayBeMonth[lower]
	switch lower {
	case "i", "me", "my", "mine", "myself", "we", "our", "ours", "ourselves", "im", "ive":
		r.out.FirstPerson = true
	case "us":
		r.out.FirstPerson = r.out.FirstPerson || !allCaps(base)
	}
	if r.start {
		r.asking = false
	}
	switch r.words {
	case 0:
		r.asking = r.asking || questionWords[lower]
	case 1:
		command := r.previous == "do" || r.previous == "have"
		subject := pronouns[lower] || isUpper(base) || (determiners[lower] && !command)
		r.asking = r.asking || (auxiliaries[r.previous] && subject)
	}
}

// monthAt tells a month from the word that is spelled alike: in May, May 7, but
// not it may.
func (r *reader) monthAt(base, lower string, digit bool) bool {
	switch {
	case r.month && digit:
		return true
	case !mayBeMonth[lower] || !isUpper(base):
		return false
	}
	switch r.previous {
	case "in", "last", "next", "this", "of", "since", "until", "by", "during", "early", "late", "mid", "before", "after":
		return true
	}
	return r.previous != "" && isDigit(r.previous[0])
}

// isYear reports whether the digits are a year of our time, or an ISO date begins
// with them.
func isYear(s string) bool {
	return len(s) == 4 && (strings.HasPrefix(s, "19") || strings.HasPrefix(s, "20")) && isDigit(s[2]) && isDigit(s[3])
}

// name notes a capitalised word. term is empty where the word is none.
func (r *reader) name(term, lower string, upper, possessive bool) {
	if term == "" || !upper || len(lower) < 2 || timeWords[lower] {
		return
	}
	if r.start {
		r.openers = append(r.openers, opener{term: term, name: possessive})
		return
	}
	if n := len(r.openers); n > 0 && r.capital && r.words == 1 {
		r.openers[n-1].name = true // Melanie Smith said: both or none
	}
	r.addName(term)
}

// namesAtStarts takes the words at beginnings of sentences as names which are
// names elsewhere, or for which their neighbours speak. In a text without one
// word in small letters, a capital says nothing.
func (r *reader) namesAtStarts() {
	if !r.lower {
		r.out.Names = nil
		return
	}
	for _, o := range r.openers {
		if o.name {
			r.addName(o.term)
		}
	}
}

func (r *reader) addName(term string) {
	if len(r.out.Names) < MaxNames && !slices.Contains(r.out.Names, term) {
		r.out.Names = append(r.out.Names, term)
	}
}
