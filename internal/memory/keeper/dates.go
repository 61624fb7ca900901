package keeper

import (
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/language"
)

// Became returns the time in which a text holds, as the text itself says it, read
// against the date at on which it was said: a zero time is open, and where at is
// zero only those dates are read that need no other. A text with one date holds
// from its beginning on, one with "from ... to ..." in that time, and one with
// "until ..." up to the end of the date. One that names no date, or several, does not say when it
// became true: it holds from when it was said.
func Became(text string, at time.Time) (from, to time.Time) {
	dates := slices.DeleteFunc(language.Dates(text, at), func(m language.Mention) bool {
		return isYear(m.Words) && !endsWith(text[:m.Start], yearAfter()...)
	})
	switch len(dates) {
	case 1:
		d := &dates[0]
		if !endsWith(text[:d.Start], "until", "till", "up to") {
			return d.From, time.Time{}
		}
		if at.Before(d.To) {
			return at, d.To
		}
		return time.Time{}, d.To
	case 2:
		a, b := &dates[0], &dates[1]
		if a.From.Before(b.To) && spans(text[:a.Start], text[a.End:b.Start]) {
			return a.From, b.To
		}
	}
	return at, time.Time{}
}

// spans reports whether the words before two dates and between them make them the
// beginning and the end of one time.
func spans(before, between string) bool {
	switch strings.ToLower(strings.TrimSpace(between)) {
	case "-", "–":
		return true
	case "to", "until", "till":
		return endsWith(before, "from")
	case "and":
		return endsWith(before, "between")
	}
	return false
}

// isYear reports whether the words are four digits, which may be a title or a
// number of things.
func isYear(words string) bool {
	return len(words) == 4 && strings.Trim(words, "0123456789") == ""
}

// yearAfter are the words after which four digits are a year.
func yearAfter() []string {
	return []string{
		"in", "since", "of", "from", "to", "until", "till", "up to", "by", "before", "after", "during", "between", "and",
		"around", "about", "early", "late", "mid", "throughout", "through", "year", "-", "–",
	}
}

// endsWith reports whether the last words of the text are one of these.
func endsWith(text string, words ...string) bool {
	text = " " + strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, w := range words {
		for _, article := range []string{"", " the", " in", " on"} {
			if strings.HasSuffix(text, " "+w+article) {
				return true
			}
		}
	}
	return false
}

// saidAt returns the date on which a record was said, which is that of the latest
// of the turns and other records that it was drawn from, or zero. The clock says
// nothing of it: what is written today may be years old.
func saidAt(r *memory.Record, sources map[string]*memory.Record) (at time.Time) {
	for _, id := range r.Source.RecordIDs {
		s := sources[id]
		if s == nil {
			continue
		}
		said := s.ValidFrom
		if s.Strategy == memory.Turn && said.IsZero() {
			said = s.RecordedAt
		}
		if said.After(at) {
			at = said
		}
	}
	return at
}

// dated reports whether a record of the strategy speaks of what became true at
// some time. A turn is what was said when it was said, whatever it speaks of, and
// what a summary and a core block say is of many times.
func dated(s memory.Strategy) bool {
	return s == memory.Semantic || s == memory.Preference || s == memory.Episodic
}

// setTimes gives a record that does not say when it became true the time that its
// text says, or else that in which it was said. One that is brought from elsewhere,
// with the time at which it was recorded there, stays as it was.
func setTimes(r *memory.Record, sources map[string]*memory.Record) {
	if !r.ValidFrom.IsZero() || !r.RecordedAt.IsZero() {
		return
	}
	from, to := saidAt(r, sources), time.Time{}
	if dated(r.Strategy) {
		from, to = Became(r.Text, from)
	}
	if r.ValidTo.IsZero() {
		r.ValidTo = to
	}
	// An end that the writer gave is not contradicted.
	if r.ValidTo.IsZero() || from.Before(r.ValidTo) {
		r.ValidFrom = from
	}
}
