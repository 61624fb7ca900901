package language

import (
	"strings"
	"time"
)

// Asked is what a question says of time.
type Asked struct {
	// Times are the times that it names. Where a day or month without a year could
	// be one that is still to come, it is the one before: questions are asked of
	// what was.
	Times []Mention
	When  bool // it asks for a time: when, how long, how often
}

// Ask reads what a question that is asked at the time says of times.
func Ask(question string, at time.Time) Asked {
	asked := Asked{Times: Dates(question, at), When: asksWhen(question)}
	if at.IsZero() {
		return asked
	}
	sure := map[int]bool{}
	for _, m := range Dates(question, time.Time{}) {
		sure[m.Start] = true
	}
	ahead := futureIn(question)
	for i := range asked.Times {
		if m := &asked.Times[i]; m.From.After(at) && !sure[m.Start] && !ahead {
			m.From, m.To = m.From.AddDate(-1, 0, 0), m.To.AddDate(-1, 0, 0)
		}
	}
	return asked
}

// futureIn reports whether a word of the question speaks of what is to come.
func futureIn(question string) bool {
	for _, t := range lex(question) {
		if futureWords[t.text] || t.text == "next" {
			return true
		}
	}
	return false
}

func asksWhen(question string) bool {
	words := strings.FieldsFunc(strings.ToLower(question), func(c rune) bool { return c < 'a' || c > 'z' })
	for i, w := range words {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch {
		case w == "when",
			w == "how" && (next == "long" || next == "often" || next == "soon"),
			(w == "what" || w == "which") && (next == "day" || next == "date" || next == "month" || next == "year" || next == "time"):
			return true
		}
	}
	return false
}
