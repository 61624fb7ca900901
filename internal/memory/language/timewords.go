package language

import (
	"strings"
	"time"
)

var monthNames = map[string]time.Month{
	"january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8, "september": 9,
	"october": 10, "november": 11, "december": 12, "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8,
	"sep": 9, "sept": 9, "oct": 10, "nov": 11, "dec": 12,
}

// mayBeNames are months that are also names of people or words.
var mayBeNames = set(`april may june march august`)

var weekdays = map[string]time.Weekday{
	"monday": 1, "tuesday": 2, "wednesday": 3, "thursday": 4, "friday": 5, "saturday": 6, "sunday": 0,
	"mondays": 1, "tuesdays": 2, "wednesdays": 3, "thursdays": 4, "fridays": 5, "saturdays": 6, "sundays": 0,
	"mon": 1, "tue": 2, "tues": 2, "wed": 3, "thu": 4, "thur": 4, "thurs": 4, "fri": 5, "sat": 6, "sun": 0,
}

// seasons by the month in which they begin.
var seasons = map[string]time.Month{"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}

var feasts = []struct {
	words string
	month time.Month
	day   int
}{
	{"christmas eve", 12, 24},
	{"christmas", 12, 25},
	{"halloween", 10, 31},
	{"new year eve", 12, 31},
	{"valentine day", 2, 14},
}

var units = map[string]unit{
	"day": day, "days": day, "night": day, "nights": day, "week": week, "weeks": week, "fortnight": fortnight,
	"fortnights": fortnight, "weekend": weekend, "weekends": weekend, "month": month, "months": month, "quarter": quarter,
	"quarters": quarter, "year": year, "years": year, "decade": decade, "decades": decade,
}

var nearDays = map[string]int{"yesterday": -1, "today": 0, "tonight": 0, "tomorrow": 1}

var ordinals = map[string]int{
	"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
	"tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
	"seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30,
}

// prepositions make a time of the month or season after them.
var prepositions = set(`in since until till by during through throughout before after of early late mid for over between`)

var futureWords = set(`will ll going gonna plan plans planning planned upcoming shall hope hoping wait see tomorrow soon`)

// counted are things of which there may be as many as a year has digits.
var counted = []string{
	"people", "users", "dollars", "euros", "pounds", "miles", "km", "kilometers", "meters", "metres", "feet", "calories",
	"steps", "points", "times", "words", "pages", "years", "days", "hours", "minutes", "kg", "copies", "units", "votes",
}

// labels stand before numbers that are no years.
var labels = []string{
	"room", "page", "number", "no", "flight", "chapter", "version", "rfc", "code", "pin", "id", "port", "$", "€", "£", "#",
}

// openings are the words that an expression of time can begin with.
var openings = func() map[string]bool {
	all := set(`' since the in within a an few several last past previous this coming upcoming next q1 q2 q3 q4`)
	for _, f := range feasts {
		first, _, _ := strings.Cut(f.words, " ")
		all[first] = true
	}
	addKeys(all, monthNames)
	addKeys(all, weekdays)
	addKeys(all, seasons)
	addKeys(all, units)
	addKeys(all, nearDays)
	addKeys(all, ordinals)
	addKeys(all, numbers)
	return all
}()

func addKeys[V any](to map[string]bool, from map[string]V) {
	for k := range from {
		to[k] = true
	}
}
