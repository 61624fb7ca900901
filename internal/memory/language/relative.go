package language

import "time"

// nearDay: yesterday, tonight, this morning, the day after tomorrow.
func (p *dateParser) nearDay(i int) (span, int) {
	t := p.token(i)
	if n, ok := nearDays[t.text]; ok && t.kind == word {
		return day.around(p.today.AddDate(0, 0, n)), i + 1
	}
	switch {
	case p.is(i, "last") && p.is(i+1, "night", "evening"):
		return day.around(p.today.AddDate(0, 0, -1)), i + 2
	case p.is(i, "this") && p.is(i+1, "morning", "afternoon", "evening"):
		return day.around(p.today), i + 2
	}
	return span{}, 0
}

// direction reads last, this past, next.
func (p *dateParser) direction(i int) (direction, int) {
	switch {
	case p.is(i, "this") && p.is(i+1, "past", "last"):
		return last, i + 2
	case p.is(i, "this") && p.is(i+1, "coming"):
		return this, i + 2
	case p.is(i, "last", "past", "previous"):
		return last, i + 1
	case p.is(i, "this", "coming", "upcoming"):
		return this, i + 1
	case p.is(i, "next"):
		return next, i + 1
	}
	return 0, 0
}

// directed: last week, next Friday, this June, the past three months.
func (p *dateParser) directed(i int) (span, int) {
	dir, j := p.direction(i)
	if j == 0 {
		return span{}, 0
	}
	if wd, ok := p.weekday(j); ok {
		return weekdayFrom(p.today, wd, dir), j + 1
	}
	if in, end, _ := p.recurring(j); end > 0 {
		s, ok := yearly(p.today, dir, in)
		return s, found(ok, end)
	}
	if u, ok := p.unit(j); ok && !p.plural(j) && !p.is(j+1, "of") && (u != day || dir == next) {
		if p.is(j-1, "past") && u != weekend {
			return p.rolling(last, u, 1), j + 1
		}
		n := map[direction]int{last: -1, this: 0, next: 1}[dir]
		return u.around(u.shift(p.today, n)), j + 1
	}
	_, hi, end := p.cardinal(j)
	if u, ok := p.unit(end); end > 0 && ok && dir != this {
		return p.rolling(dir, u, hi), end + 1
	}
	return span{}, 0
}

// rolling is the time of n units up to the date, or from it, with the date.
func (p *dateParser) rolling(dir direction, u unit, n int) span {
	if dir == last {
		return span{u.shift(p.today, -n), p.today.AddDate(0, 0, 1)}
	}
	return span{p.today, u.shift(p.today, n).AddDate(0, 0, 1)}
}

// counted: two weeks ago, in three months, two Fridays ago, a week from now.
func (p *dateParser) counted(i int) (span, int) {
	sign, j := -1, i
	if p.is(i, "in", "within") {
		sign, j = 1, i+1
	}
	lo, hi, j := p.cardinal(j)
	if j == 0 {
		return span{}, 0
	}
	if wd, ok := p.weekday(j); ok && sign < 0 && p.is(j+1, "ago") {
		return weekdayFrom(p.today.AddDate(0, 0, -7*(lo-1)), wd, last), j + 2
	}
	u, ok := p.unit(j)
	if !ok {
		return span{}, 0
	}
	end := j + 1
	switch {
	case sign > 0 && p.is(end, "of", "before", "after", "or"):
		return span{}, 0
	case sign < 0 && p.is(end, "ago", "back"):
		end++
	case sign < 0 && p.is(end, "from") && p.is(end+1, "now", "today"):
		sign, end = 1, end+2
	case sign < 0:
		return span{}, 0
	}
	a, b := u.around(u.shift(p.today, sign*lo)), u.around(u.shift(p.today, sign*hi))
	if sign < 0 {
		a, b = b, a
	}
	return span{a.from, b.to}, end
}

// weekdayAlone: on Friday; Friday, May 5; Friday of last week; over the weekend.
func (p *dateParser) weekdayAlone(i int) (span, int) {
	if p.is(i-1, "every", "each", "per") {
		return span{}, 0
	}
	if p.is(i, "the") && p.is(i+1, "weekend") && p.is(i-1, "over", "at", "on", "for", "during") {
		if wd := p.today.Weekday(); p.future(i) || wd == time.Saturday || wd == time.Sunday {
			return weekend.around(p.today), i + 2
		}
		return weekend.around(week.shift(p.today, -1)), i + 2
	}
	wd, ok := p.weekday(i)
	if !ok || p.plural(i) {
		return span{}, 0
	}
	j := i + 1
	if p.is(j, ",") {
		j++
	}
	if j < len(p.tokens) {
		for _, rule := range [...]func(int) (span, int){p.numeric, p.dayOfMonth} {
			if s, end := rule(j); end > 0 {
				return s, end
			}
		}
	}
	if p.is(j, "of") {
		j++
	}
	if dir, end := p.direction(j); end > 0 && p.is(end, "week") {
		n := map[direction]int{last: -1, this: 0, next: 1}[dir]
		monday := week.around(week.shift(p.today, n)).from
		return day.around(monday.AddDate(0, 0, int(wd+6)%7)), end + 1
	}
	dir := nearest
	if p.future(i) {
		dir = this
	}
	return weekdayFrom(p.today, wd, dir), i + 1
}

// dayAlone: on the 15th.
func (p *dateParser) dayAlone(i int) (span, int) {
	t, ok := p.plain(i + 1)
	if !ok || !p.is(i, "the") || !p.is(i-1, "on", "by", "until", "since", "from", "before", "after") ||
		t.n > 31 || t.n < 1 || t.suffix == "" || t.suffix == "s" {
		return span{}, 0
	}
	if after := p.token(i + 2); after.kind == word && !stopWords[after.text] {
		return span{}, 0 // on the 7th floor
	}
	best, away := span{}, time.Duration(0)
	for n := -2; n <= 2; n++ {
		m := month.shift(date(p.today.Year(), p.today.Month(), 1), n)
		s, ok := oneDay(m.Year(), m.Month(), t.n)
		if !ok || (p.future(i) && s.from.Before(p.today)) {
			continue
		}
		if d := s.from.Sub(p.today).Abs(); !best.valid() || d < away {
			best, away = s, d
		}
	}
	return best, i + 2
}

// future reports whether the sentence speaks of what is to come before the token.
func (p *dateParser) future(i int) bool {
	for j := i - 1; j >= 0 && j >= i-8; j-- {
		if p.is(j, ".", "!", "?", ";") {
			return false
		}
		if futureWords[p.token(j).text] {
			return true
		}
	}
	return false
}

// cardinal is a number of things: 3, two, twenty-one, a, a couple of, a few. It
// gives the least and the most that it can be.
func (p *dateParser) cardinal(i int) (lo, hi, end int) {
	if t, ok := p.plain(i); ok {
		return t.n, t.n, found(t.suffix == "" && t.n > 0, i+1)
	}
	if p.is(i, "a", "an") {
		if !p.is(i+1, "couple", "few", "dozen", "hundred", "thousand") {
			return 1, 1, i + 1
		}
		i++
	}
	if p.is(i, "few", "several") {
		return 2, 5, i + 1
	}
	n := numbers[p.token(i).text]
	if n == 0 || n > 1000 {
		return 0, 0, 0
	}
	if p.is(i, "couple") && p.is(i+1, "of") {
		return n, n, i + 2
	}
	if ones := numbers[p.token(i+2).text]; n >= 20 && n < 100 && p.joined(i+1, "-") && ones > 0 && ones < 10 {
		return n + ones, n + ones, i + 3
	}
	return n, n, i + 1
}

func (p *dateParser) unit(i int) (unit, bool) {
	u, ok := units[p.token(i).text]
	return u, ok
}

func (p *dateParser) plural(i int) bool {
	t := p.token(i).text
	return t != "" && t[len(t)-1] == 's'
}

// month is the name of a month. May and March need their capital, abbreviations
// theirs.
func (p *dateParser) month(i int) (time.Month, int) {
	t := p.token(i)
	m, ok := monthNames[t.text]
	if !ok || (!t.capital && (mayBeMonth[t.text] || len(t.text) < 4)) {
		return 0, 0
	}
	if len(t.text) <= 4 && p.is(i+1, ".") && p.token(i+1).glued && p.token(i+2).kind == number {
		return m, i + 2
	}
	return m, i + 1
}

func (p *dateParser) weekday(i int) (time.Weekday, bool) {
	t := p.token(i)
	wd, ok := weekdays[t.text]
	return wd, ok && (t.capital || len(t.text) > 5)
}
