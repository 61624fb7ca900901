package language

import "time"

// Mention is an expression of time and what it means.
type Mention struct {
	// From is part of the interval, To is not. Both are beginnings of days in the
	// zone of the text's date, and as far apart as the expression is exact: a day,
	// a week, a month, a season, a year.
	From, To   time.Time
	Start, End int    // bytes of the text
	Words      string // text[Start:End]
}

// Dates finds the English expressions of time in the text, and resolves those
// that are relative against the date at on which it was written. They come in
// order and do not overlap. Where at is zero, only those are found that need no
// such date.
//
// Weeks begin on Monday (ISO 8601); seasons are of the northern hemisphere and
// whole months, and winter has the year of its December. "Two months ago" is the
// month in which the day two months ago lies, and likewise for other units; a day
// that a month does not have becomes its last. "Last Friday" is the latest before
// the date, "next Friday" that of the week after the date's, and "on Friday" the
// latest up to it. A day or month without a year is the one nearest to the date.
// Where the sentence speaks of the future before it (will, going to, plan), both
// are the first from the date on. "A few" and "several" are from two to five.
// "Since" lasts up to the date.
//
// Dates in digits are ISO 8601 (2023-05-07, 2023/05/07), or have the year last
// and only one possible reading (13/05/2023, 05/13/2023). Of 03/04/2023, which is
// March to some and April to others, only the year is sure, and that is what it
// gives. Dates with points (13.05.2023) are not read.
func Dates(text string, at time.Time) []Mention {
	p := &dateParser{tokens: lex(text)}
	if !at.IsZero() {
		p.known, p.today = true, date(at.Date())
	}
	var out []Mention
	for i := 0; i < len(p.tokens); {
		s, end := p.mention(i, 0)
		if end <= i || !s.valid() {
			i++
			continue
		}
		from, to := p.tokens[i].start, p.tokens[end-1].end
		out = append(out, Mention{
			From: in(s.from, at.Location()), To: in(s.to, at.Location()),
			Start: from, End: to, Words: text[from:to],
		})
		i = end
	}
	return out
}

func in(t time.Time, loc *time.Location) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, loc)
}

// dateParser matches expressions over tokens. Its methods try one sort of
// expression at a token, and return the index after the last one that belongs to
// it, or 0 where it does not stand there.
type dateParser struct {
	tokens []token
	today  time.Time
	known  bool // today is
}

// maxDepth bounds expressions in expressions: the day before the day before ...
const maxDepth = 3

func (p *dateParser) mention(i, depth int) (span, int) {
	if depth > maxDepth || !p.begins(i) {
		return span{}, 0
	}
	if s, end := p.relation(i, depth); end > 0 {
		return s, end
	}
	for _, rule := range [...]func(int) (span, int){p.numeric, p.dayOfMonth, p.monthOrSeason, p.quarterOf, p.decadeOf} {
		if s, end := rule(i); end > 0 {
			return s, end
		}
	}
	if p.known {
		for _, rule := range [...]func(int) (span, int){p.nearDay, p.directed, p.counted, p.weekdayAlone, p.dayAlone} {
			if s, end := rule(i); end > 0 {
				return s, end
			}
		}
	}
	return p.yearAlone(i)
}

// begins reports whether an expression can begin with the token, which most words
// rule out at once.
func (p *dateParser) begins(i int) bool {
	t := p.tokens[i]
	return t.kind == number || openings[t.text]
}

// relation: since 2016; the day before yesterday; two weeks after 9 June 2023.
func (p *dateParser) relation(i, depth int) (span, int) {
	if p.is(i, "since") && p.known {
		s, end := p.inner(i+1, depth)
		if end == 0 || s.from.After(p.today) {
			return s, end
		}
		return span{s.from, p.today.AddDate(0, 0, 1)}, end
	}
	n, j := 0, i
	if p.is(i, "the") {
		j = i + 1
	} else if lo, hi, end := p.cardinal(i); end > 0 && lo == hi {
		n, j = lo, end
	}
	u, isUnit := p.unit(j)
	wd, isWeekday := p.weekday(j)
	after := p.is(j+1, "after", "following")
	from := n > 0 && p.is(j+1, "from")
	if (!isUnit && !isWeekday) || (isWeekday && n > 0) || (!after && !from && !p.is(j+1, "before", "preceding")) {
		return span{}, 0
	}
	s, end := p.inner(j+2, depth)
	if from && p.known && p.is(j+2, "now") {
		s, end = day.around(p.today), j+3
	}
	if end == 0 {
		return span{}, 0
	}
	base, sign := s.from, -1
	if after || from {
		base, sign = s.to.AddDate(0, 0, -1), 1
	}
	switch {
	case isWeekday && sign < 0:
		return weekdayFrom(base, wd, last), end
	case isWeekday:
		return weekdayFrom(base.AddDate(0, 0, 1), wd, this), end
	case u == weekend:
		return weekendBeside(base, sign*max(n, 1)), end
	}
	return u.around(u.shift(base, sign*max(n, 1))), end
}

// weekendBeside is the nth weekend that lies wholly after the day, or before it.
func weekendBeside(t time.Time, n int) span {
	s := weekend.around(t)
	if n < 0 && !s.to.After(t) {
		n++
	}
	if n > 0 && s.from.After(t) {
		n--
	}
	return span{s.from.AddDate(0, 0, 7*n), s.to.AddDate(0, 0, 7*n)}
}

// inner is an expression within another, which may have an article.
func (p *dateParser) inner(i, depth int) (span, int) {
	if i < len(p.tokens) && (p.is(i, "in", "on") || (p.is(i, "the") && !p.unitFollows(i+1))) {
		i++
	}
	if i >= len(p.tokens) {
		return span{}, 0
	}
	return p.mention(i, depth+1)
}

func (p *dateParser) unitFollows(i int) bool {
	_, isUnit := p.unit(i)
	_, isWeekday := p.weekday(i)
	return isUnit || isWeekday
}
