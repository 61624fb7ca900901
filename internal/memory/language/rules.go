package language

import (
	"strings"
	"time"
)

// numeric: 2023-05-07, 2023/05/07, 2023-05, 13/05/2023.
func (p *dateParser) numeric(i int) (span, int) {
	a, b, c := p.token(i), p.token(i+2), p.token(i+4)
	if a.kind != number || b.kind != number || a.suffix+b.suffix != "" || (a.glued && !p.is(i-1, "(", "[", `"`, "'", ",", "=", "T")) {
		return span{}, 0
	}
	sep := p.token(i + 1).text
	if !p.joined(i+1, "-", "/") {
		return span{}, 0
	}
	three := c.kind == number && p.joined(i+3, sep)
	switch {
	case three && len(a.text) == 4:
		if s, ok := oneDay(a.n, time.Month(b.n), c.n); ok {
			return s, i + 5
		}
	case three && len(c.text) == 4 && len(a.text) <= 2 && len(b.text) <= 2:
		dayFirst, ok1 := oneDay(c.n, time.Month(b.n), a.n)
		monthFirst, ok2 := oneDay(c.n, time.Month(a.n), b.n)
		switch {
		case ok1 && (!ok2 || a.n == b.n):
			return dayFirst, i + 5
		case ok2 && !ok1:
			return monthFirst, i + 5
		case ok1:
			return years(c.n, 1), i + 5
		}
	case !three && len(a.text) == 4 && len(b.text) == 2 && sep == "-" && b.n >= 1 && b.n <= 12 && !p.joined(i+3, "-", "/"):
		return months(a.n, time.Month(b.n), 1), i + 3
	}
	return span{}, 0
}

// dayOfMonth: 7 May 2023, the 7th of May, May 7th, May 7-9, 2023.
func (p *dateParser) dayOfMonth(i int) (span, int) {
	j := i
	if p.is(j, "the") {
		j++
	}
	var m time.Month
	var first, length int
	if d, end := p.ordinalDay(j); end > 0 {
		first, j = d, end
		length, j = p.through(j, first)
		if p.is(j, "of") {
			j++
		}
		month, end := p.month(j)
		if end == 0 {
			return span{}, 0
		}
		m, j = month, end
	} else if month, end := p.month(i); end > 0 {
		m, j = month, end
		if p.is(j, "the") {
			j++
		}
		d, end := p.ordinalDay(j)
		if end == 0 {
			return span{}, 0
		}
		first, j = d, end
		length, j = p.through(j, first)
	} else {
		return span{}, 0
	}
	in := func(y int) (span, bool) {
		s, ok := oneDay(y, m, first)
		if _, last := oneDay(y, m, first+length); !last {
			return span{}, false
		}
		s.to = s.to.AddDate(0, 0, length)
		return s, ok
	}
	if y, end := p.yearOf(j); end > 0 {
		s, ok := in(y)
		return s, found(ok, end)
	}
	return p.everyYear(i, j, in)
}

// ordinalDay is a number that can be a day of a month, in digits or as "fourth".
func (p *dateParser) ordinalDay(i int) (int, int) {
	t, ok := p.plain(i)
	if !ok {
		n := ordinals[p.token(i).text]
		return n, found(n > 0, i+1)
	}
	return t.n, found(t.n >= 1 && t.n <= 31 && t.suffix != "s" && len(t.text) <= 2, i+1)
}

// through reads the rest of 7-9, and returns by how many days it is longer than
// one.
func (p *dateParser) through(i, first int) (length, end int) {
	if t := p.token(i + 1); p.is(i, "-", "to", "through") && t.kind == number && t.n > first && t.n <= 31 {
		return t.n - first, i + 2
	}
	return 0, i
}

// monthOrSeason: May 2023, in June, last summer without its last, Christmas.
func (p *dateParser) monthOrSeason(i int) (span, int) {
	in, end, sure := p.recurring(i)
	if end == 0 {
		return span{}, 0
	}
	if y, after := p.yearOf(end); after > 0 {
		s, ok := in(y)
		return s, found(ok, after)
	}
	if !sure && !p.preceded(i) {
		return span{}, 0
	}
	return p.everyYear(i, end, in)
}

// recurring is what comes every year and has a name. Where that is not sure, the
// word could be another, or a name.
func (p *dateParser) recurring(i int) (in func(int) (span, bool), end int, sure bool) {
	if m, end := p.month(i); end > 0 {
		t := p.token(i)
		sure = t.capital && len(t.text) > 4 && !mayBeNames[t.text]
		return func(y int) (span, bool) { return months(y, m, 1), true }, end, sure
	}
	if m, ok := seasons[p.token(i).text]; ok {
		return func(y int) (span, bool) { return months(y, m, 3), true }, i + 1, false
	}
	for _, f := range feasts {
		if end := p.phrase(i, f.words); end > 0 {
			return func(y int) (span, bool) { return oneDay(y, f.month, f.day) }, end, true
		}
	}
	return nil, 0, false
}

func (p *dateParser) phrase(i int, words string) int {
	for w := range strings.FieldsSeq(words) {
		if !p.is(i, w) {
			return 0
		}
		i++
	}
	return i
}

// preceded reports whether the words before the token make it a time: in June.
func (p *dateParser) preceded(i int) bool {
	if p.is(i-1, "the") {
		i--
	}
	return prepositions[p.token(i-1).text]
}

// everyYear resolves what has no year.
func (p *dateParser) everyYear(i, end int, in func(int) (span, bool)) (span, int) {
	if !p.known {
		return span{}, 0
	}
	dir := nearest
	if p.future(i) {
		dir = next
	}
	s, ok := yearly(p.today, dir, in)
	return s, found(ok, end)
}

// quarterOf: Q3 2024, 2024 Q4, third quarter of 2024, in Q1.
func (p *dateParser) quarterOf(i int) (span, int) {
	q, end := p.quarterName(i)
	if end == 0 {
		if t, ok := p.plain(i); ok && len(t.text) == 4 {
			if q, end := p.quarterName(i + 1); end > 0 {
				return months(t.n, time.Month(3*q-2), 3), end
			}
		}
		return span{}, 0
	}
	in := func(y int) (span, bool) { return months(y, time.Month(3*q-2), 3), true }
	if y, after := p.yearOf(end); after > 0 {
		s, ok := in(y)
		return s, found(ok, after)
	}
	return p.everyYear(i, end, in)
}

func (p *dateParser) quarterName(i int) (q, end int) {
	t := p.token(i)
	if len(t.text) == 2 && t.text[0] == 'q' && t.text[1] >= '1' && t.text[1] <= '4' && t.capital {
		return int(t.text[1] - '0'), i + 1
	}
	if n := ordinals[t.text]; n >= 1 && n <= 4 && p.is(i+1, "quarter") {
		return n, i + 2
	}
	return 0, 0
}

// decadeOf: the 1990s, the '90s.
func (p *dateParser) decadeOf(i int) (span, int) {
	j := i
	if p.is(j, "'") {
		j++
	}
	t := p.token(j)
	if t.kind != number || t.suffix != "s" || t.n%10 != 0 {
		return span{}, 0
	}
	switch {
	case len(t.text) == 4:
		return years(t.n, 10), j + 1
	case len(t.text) == 2 && (j > i || p.is(i-1, "the", "early", "late", "mid")) && p.known:
		return years(p.century(t.n), 10), j + 1
	}
	return span{}, 0
}

// century gives a year of two digits its century: ours, unless that is more than
// ten years ahead.
func (p *dateParser) century(n int) int {
	y := p.today.Year()/100*100 + n
	if y > p.today.Year()+10 {
		y -= 100
	}
	return y
}

// yearOf is the year after a month, a season or a day: "2023", ", 2023", "of
// 2023", "'23".
func (p *dateParser) yearOf(i int) (int, int) {
	if p.is(i, "of", ",", "in") {
		i++
	}
	t := p.token(i)
	switch {
	case p.is(i, "'") && p.known:
		n := p.token(i + 1)
		return p.century(n.n), found(n.kind == number && n.glued && len(n.text) == 2 && n.suffix == "", i+2)
	case t.kind == number && len(t.text) == 4 && t.suffix == "" && t.n >= 1000 && t.n < 3000:
		return t.n, found(!p.counts(i), i+1)
	}
	return 0, 0
}

// yearAlone: in 2019, the 2019 election; but not 2019 people.
func (p *dateParser) yearAlone(i int) (span, int) {
	t, ok := p.plain(i)
	if !ok && p.joined(i-1, "-") && p.token(i-2).kind == number && len(p.token(i-2).text) == 4 {
		t, ok = p.token(i), p.token(i).kind == number // 2016-2018
	}
	if !ok || len(t.text) != 4 || t.suffix != "" || p.counts(i) || p.is(i-1, labels...) {
		return span{}, 0
	}
	usual := t.n >= 1900 && t.n < 2100
	return years(t.n, 1), found(usual || (t.n >= 1000 && t.n < 3000 && p.is(i-1, "in", "since", "year")), i+1)
}

// counts reports whether the number counts what stands after it.
func (p *dateParser) counts(i int) bool {
	return p.is(i+1, counted...) || (p.token(i+1).glued && p.is(i+1, "%", "°", "€", "$"))
}

func found(ok bool, end int) int {
	if !ok {
		return 0
	}
	return end
}
