package index

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/memory/language"
)

// speakersOf returns which names of a table have a term. Names that begin with a
// small letter are roles (user, assistant) and not people.
func speakersOf(names *table) map[string][]uint32 {
	out := map[string][]uint32{}
	for i := range names.n {
		name := string(names.string(i))
		if first, _ := utf8.DecodeRuneInString(name); !unicode.IsUpper(first) {
			continue
		}
		for _, term := range language.Analyse(name).Terms {
			if !slices.Contains(out[term], uint32(i)) {
				out[term] = append(out[term], uint32(i))
			}
		}
	}
	return out
}

// people are those whom the question names and who speak in what is searched.
type people struct {
	terms []string         // of the question, in its order
	names map[string]int   // by name: which of terms names them first
	parts []map[uint32]int // the same by the name's number in a part
}

func newPeople(plan *Plan, parts []*part) *people {
	w := &people{names: map[string]int{}, parts: make([]map[uint32]int, len(parts))}
	for _, term := range plan.Text.Terms {
		if w.named(term) {
			continue
		}
		for i, p := range parts {
			for _, number := range p.speakers[term] {
				if len(w.terms) == 0 || w.terms[len(w.terms)-1] != term {
					w.terms = append(w.terms, term)
				}
				w.note(i, number, string(p.nameTable[nameSpeaker].string(int(number))))
			}
		}
	}
	return w
}

func (w *people) note(part int, number uint32, name string) {
	if _, ok := w.names[name]; !ok {
		w.names[name] = len(w.terms) - 1
	}
	if w.parts[part] == nil {
		w.parts[part] = map[uint32]int{}
	}
	w.parts[part][number] = w.names[name]
}

// named reports whether the term names somebody who speaks.
func (w *people) named(term string) bool { return slices.Contains(w.terms, term) }

// speaks tells of who said the document: 1 where that is the person whom the
// question names, or the first of several, and -1 where it is another. What was
// said by nobody is 1 where it is about that person, and 0 else.
func (w *people) speaks(part int32, p *part, doc int, about bool) float64 {
	if len(w.terms) == 0 {
		return 0
	}
	number := uint32(p.names[nameSpeaker].at(doc))
	if len(p.nameTable[nameSpeaker].string(int(number))) == 0 {
		if about {
			return 1
		}
		return 0
	}
	if place, ok := w.parts[part][number]; ok && place == 0 {
		return 1
	}
	return -1
}

// several reports whether more than one person is named. Two terms that name the
// same people, as a first and a last name do, are one person.
func (w *people) several() bool {
	for _, place := range w.names {
		if place > 0 {
			return true
		}
	}
	return false
}
