package language

import "strings"

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// stopWords are the English words that say nothing about what a text is about.
// Two usual ones are missing: will and may are also a name and a month.
var stopWords = set(`
a about above after again against all am an and any are as at be because been before being below between both but by
can could did do does doing down during each either else ever few for from further get gets getting got had has have
having he her here hers herself him himself his how i if im in into is it its itself ive just let lets me more most my
myself no nor not now of off on once only or other our ours ourselves out over own really same shall she should so some
such than that the their theirs them themselves then there these they this those through to too under until up upon us
very was we were what when where which while who whom whose why with would you your yours yourself yourselves
also oh ok okay yeah yes hey hi hello well
`)

var questionWords = set(`what when where who whom whose which why how`)

var auxiliaries = set(`did does do is are was were can could would should has have had will shall may`)

// Subjects turn an auxiliary before them into a question. After have and do,
// which also begin commands, only pronouns do.
var (
	pronouns    = set(`i you he she it we they anyone anybody someone somebody`)
	determiners = set(`the a an my your his her its our their this that these those there any`)
)

// namesInCapitals are stop words that are a name in capitals.
var namesInCapitals = set(`us it who`)

// titles have a full stop that ends no sentence.
var titles = set(`dr mr mrs ms prof st jr sr vs`)

// numbers are the cardinals in words. A couple is two.
var numbers = map[string]int{
	"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
	"eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
	"eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
	"eighty": 80, "ninety": 90, "hundred": 100, "thousand": 1000, "million": 1000000, "dozen": 12, "couple": 2,
}

// timeWords speak of time wherever they stand.
var timeWords = set(`
yesterday today tomorrow tonight monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays
thursdays fridays saturdays sundays january february april june july august september october november december
week weeks weekend weekends month months year years decade decades fortnight ago recently lately
spring summer winter autumn morning afternoon evening midnight noon
mon tue wed thu fri jan feb apr jun jul aug sep sept oct nov dec
`)

// mayBeMonth are months that are words, too.
var mayBeMonth = set(`may march mar`)
