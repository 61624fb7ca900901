package index_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/index"
	"github.com/stayd/stayd/internal/memory/language"
)

// line is a turn as tests write it down.
type line struct{ who, text string }

// talk makes records of sessions, numbered from 1 over all of them; sessions are
// a month apart, from January 2025.
func talk(sessions ...[]line) []memory.Record {
	var out []memory.Record
	for i, lines := range sessions {
		for j, l := range lines {
			n := int64(len(out) + 1)
			out = append(out, memory.Record{
				Num: n, Change: n, Namespace: "/actors/a/turns", Strategy: memory.Turn, Text: l.text, Origin: memory.OriginUser,
				ValidFrom: epoch.AddDate(0, i, 0),
				Source:    memory.Source{SessionID: "s" + strconv.Itoa(i), Position: int64(j + 1), Speaker: l.who},
			})
		}
	}
	return out
}

func fact(num int64, text string) memory.Record {
	return memory.Record{
		Num: num, Change: num, Namespace: "/actors/a/facts", Strategy: memory.Semantic, Text: text,
		Origin: memory.OriginAgent, ValidFrom: epoch,
	}
}

// now is when the questions of tests are asked.
var now = epoch.AddDate(0, 6, 0)

func question(text string) *index.Plan {
	return &index.Plan{Text: language.Analyse(text), Asked: language.Ask(text, now), Now: now}
}

var (
	chatter = []line{
		{"Ada", "Good morning! Slept well?"},
		{"Bela", "Like a log, thanks."},
		{"Ada", "The bus was late again."},
		{"Bela", "Typical."},
	}
	trips = []line{
		{"Ada", "We are off to the mountains."},
		{"Bela", "Enjoy! Is the hut open?"},
		{"Ada", "It opens in the spring."},
		{"Bela", "Take a photo of the glacier."},
	}
	pets = []line{
		{"Bela", "I finally have company at home."},
		{"Ada", "Did you get a dog?"},
		{"Bela", "A kitten, black as coal."},
		{"Ada", "How sweet."},
	}
)

// Each of these is first for one reason.
func TestRanking(t *testing.T) {
	t.Parallel()
	records := talk(chatter, trips, pets,
		[]line{{"Ada", "My sister sent me a violin."}, {"Bela", "My sister sent me a kettle."}},
		[]line{{"Bela", "The physician gave me pills for the cough."}, {"Ada", "Get well."}},
		[]line{{"Ada", "The market was crowded."}, {"Bela", "Crowded, as ever."}},
	)
	s := index.New()
	apply(t, s, records...)
	for _, c := range []struct {
		why, question string
		want          int64
	}{
		{"it has the word", "What is said of the glacier?", 8},
		{"another form of the word", "Who was sleeping?", 1},
		{"the answer stands behind the question that has the word", "Which dog does Bela have?", 11},
		{"the speaker is the one who is named", "What did Ada's sister send?", 13},
		{"and the other one where the other is named", "What did Bela's sister send?", 14},
		{"other words for the same", "Which medicine did the doctor prescribe?", 15},
		{"the month that is named", "What was crowded in June?", 17},
	} {
		found := nums(search(t, question(c.question), 3, index.Defaults(), s))
		if len(found) == 0 || found[0] != c.want {
			t.Errorf("%s: %q found %v, want %d first", c.why, c.question, found, c.want)
		}
	}
	for _, nothing := range []string{"", "what is it?", "Qwertz?"} {
		if found := nums(search(t, question(nothing), 3, index.Defaults(), s)); len(found) > 0 {
			t.Errorf("%q found %v", nothing, found)
		}
	}
}

// What was said in the month, on the day or in the year that the question names
// is before the same words at another time.
func TestRankingByTime(t *testing.T) {
	t.Parallel()
	same := []line{{"Ada", "We went sailing."}}
	s := index.New()
	apply(t, s, talk(same, same, same, same, same)...)
	for text, want := range map[string]int64{
		"Who went sailing in March?":               3,
		"Who went sailing in February 2025?":       2,
		"Who went sailing on 1 April 2025?":        4,
		"Who went sailing on 31 December 2024?":    1, // it is told of a day later
		"Who went sailing? The latest time counts": 5,
	} {
		if found := nums(search(t, question(text), 5, index.Defaults(), s)); found[0] != want {
			t.Errorf("%q found %v, want %d first", text, found, want)
		}
	}
}

// A fact that answers the question is among the first of very many turns, and so
// is a turn among very many facts.
func TestFactsAndTurns(t *testing.T) {
	t.Parallel()
	var sessions [][]line
	for range 120 {
		sessions = append(sessions, chatter, trips, pets)
	}
	records := talk(sessions...)
	n := int64(len(records))
	records = append(records,
		fact(n+1, "Bela is allergic to peanuts."), fact(n+2, "Ada prefers the window seat on trains."),
		fact(n+3, "The password of the hut is under the mat."))
	s := index.New()
	apply(t, s, records...)
	for _, whole := range []int{2000, 0} {
		o := index.Defaults()
		o.Whole = whole
		for text, want := range map[string]int64{
			"What is Bela allergic to?":                n + 1,
			"Which seat does Ada like on a train?":     n + 2,
			"Where is the password of the hut hidden?": n + 3,
		} {
			if found := nums(search(t, question(text), 3, o, s)); !slices.Contains(found, want) {
				t.Errorf("with up to %d as a whole, %q found %v, want %d", whole, text, found, want)
			}
		}
	}
	facts := talk([]line{{"Ada", "I bought a violin at the flea market."}})
	for i := range 400 {
		facts = append(facts, fact(int64(i+2), "Ada owns item number "+strconv.Itoa(i)+" of the catalogue."))
	}
	s = index.New()
	apply(t, s, facts...)
	if found := nums(search(t, question("Where did Ada buy the violin?"), 3, index.Defaults(), s)); !slices.Contains(found, 1) {
		t.Errorf("among facts, the turn is not in %v", found)
	}
}

// Where all else is equal, what a tool said is behind what a person said, and the
// newer before the older.
func TestRankingOfEquals(t *testing.T) {
	t.Parallel()
	records := []memory.Record{fact(1, "The door code is 4711."), fact(2, "The door code is 4711."), fact(3, "The door code is 4711.")}
	records[0].Origin = memory.OriginTool
	records[1].ValidFrom = now.Add(-200 * 24 * time.Hour)
	records[2].ValidFrom = now.Add(-24 * time.Hour)
	s := index.New()
	apply(t, s, records...)
	if found := nums(search(t, question("What is the code of the door?"), 3, index.Defaults(), s)); !slices.Equal(found, []int64{3, 2, 1}) {
		t.Errorf("found %v", found)
	}
}

// Behind the best ten, sessions take turns.
func TestSessionsAreSpread(t *testing.T) {
	t.Parallel()
	var long []line
	for range 30 {
		long = append(long, line{"Ada", "The lighthouse has a red lamp and a bell."})
	}
	short := []line{{"Bela", "The lighthouse has a red lamp and a bell."}}
	s := index.New()
	apply(t, s, talk(long, short, short, short)...)
	found := nums(search(t, question("lighthouse lamp"), 20, index.Defaults(), s))
	others := 0
	for _, num := range found {
		if num > 30 {
			others++
		}
	}
	if others != 3 {
		t.Errorf("%d of the three turns of other sessions are among %v", others, found)
	}
	if first := nums(search(t, question("lighthouse lamp"), 15, index.Defaults(), s)); !slices.Equal(first, found[:15]) {
		t.Errorf("15 are %v, and 20 begin with %v", first, found[:15])
	}
}
