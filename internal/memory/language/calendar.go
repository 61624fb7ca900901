package language

import "time"

// span is an interval of whole days: midnights in UTC, whatever the zone of the
// text, so that no change of its clocks gets into the computation.
type span struct{ from, to time.Time }

func (s span) valid() bool {
	return s.from.Before(s.to) && s.from.Year() >= 1 && s.to.Year() <= 9999
}

// unit is a stretch of the calendar.
type unit int

const (
	day unit = iota + 1
	week
	fortnight
	weekend
	month
	quarter
	year
	decade
)

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// oneDay is the span of the day, and no span where the month has no such day.
func oneDay(y int, m time.Month, d int) (span, bool) {
	t := date(y, m, d)
	if d < 1 || m < 1 || m > 12 || t.Month() != m {
		return span{}, false
	}
	return span{t, t.AddDate(0, 0, 1)}, true
}

func months(y int, m time.Month, n int) span {
	return span{date(y, m, 1), date(y, m+time.Month(n), 1)}
}

func years(y, n int) span { return span{date(y, 1, 1), date(y+n, 1, 1)} }

// around is the unit of the calendar in which the day lies. A weekend is that of
// the day's week.
func (u unit) around(t time.Time) span {
	monday := t.AddDate(0, 0, -int(t.Weekday()+6)%7)
	switch u {
	case week, fortnight:
		return span{monday, monday.AddDate(0, 0, 7)}
	case weekend:
		return span{monday.AddDate(0, 0, 5), monday.AddDate(0, 0, 7)}
	case month:
		return months(t.Year(), t.Month(), 1)
	case quarter:
		return months(t.Year(), (t.Month()-1)/3*3+1, 3)
	case year:
		return years(t.Year(), 1)
	case decade:
		return years(t.Year()/10*10, 10)
	default:
		return span{t, t.AddDate(0, 0, 1)}
	}
}

// shift moves the day by n units. A day that the month there does not have
// becomes the last that it has.
func (u unit) shift(t time.Time, n int) time.Time {
	switch u {
	case week, weekend:
		return t.AddDate(0, 0, 7*n)
	case fortnight:
		return t.AddDate(0, 0, 14*n)
	case month:
		return addMonths(t, n)
	case quarter:
		return addMonths(t, 3*n)
	case year:
		return addMonths(t, 12*n)
	case decade:
		return addMonths(t, 120*n)
	default:
		return t.AddDate(0, 0, n)
	}
}

func addMonths(t time.Time, n int) time.Time {
	first := date(t.Year(), t.Month()+time.Month(n), 1)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

// direction says on which side of a day something is looked for.
type direction int

const (
	nearest direction = iota
	last              // that is over
	this
	next // that has not begun
)

// weekdayFrom finds a day of the week seen from t. The last one is the latest
// before t, this one the first from t on, the next one that of the week after
// t's; the nearest is the latest up to t.
func weekdayFrom(t time.Time, wd time.Weekday, dir direction) span {
	back := int(t.Weekday()-wd+7) % 7
	switch dir {
	case last:
		if back == 0 {
			back = 7
		}
	case this:
		back = -((7 - back) % 7)
	case next:
		return day.around(week.around(t).to.AddDate(0, 0, int(wd+6)%7))
	case nearest:
	}
	return day.around(t.AddDate(0, 0, -back))
}

// yearly finds what comes every year, seen from t; in gives it for a year.
func yearly(t time.Time, dir direction, in func(y int) (span, bool)) (span, bool) {
	best, found, least := span{}, false, time.Duration(0)
	for y := t.Year() - 8; y <= t.Year()+8; y++ { // 29 February may be eight years away
		s, ok := in(y)
		if !ok || (dir == last && s.to.After(t)) || (dir == next && !s.from.After(t)) || (dir == this && y != t.Year()) {
			continue
		}
		away := max(t.Sub(s.to.AddDate(0, 0, -1)), s.from.Sub(t), 0)
		if !found || away < least {
			best, found, least = s, true, away
		}
	}
	return best, found
}
