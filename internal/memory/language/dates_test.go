package language_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory/language"
)

// intervals writes mentions as people read them: words, first day, day after the
// last.
func intervals(mentions []language.Mention) string {
	var out []string
	for _, m := range mentions {
		out = append(out, m.Words+" = "+m.From.Format(time.DateOnly)+" "+m.To.Format(time.DateOnly))
	}
	return strings.Join(out, "; ")
}

func day(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04", s+" 22:30", time.FixedZone("", -5*3600))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestDates(t *testing.T) {
	for _, tt := range []struct {
		at   string // 2023-06-09 is a Friday
		text string
		want string
	}{
		// Days of the calendar.
		{"2023-06-09", "met on 7 May 2023.", "7 May 2023 = 2023-05-07 2023-05-08"},
		{"2023-06-09", "May 7th, 2021", "May 7th, 2021 = 2021-05-07 2021-05-08"},
		{"2023-06-09", "May 7,2021", "May 7,2021 = 2021-05-07 2021-05-08"},
		{"2023-06-09", "the 7th of May", "the 7th of May = 2023-05-07 2023-05-08"},
		{"2023-06-09", "on May 7th we met", "May 7th = 2023-05-07 2023-05-08"},
		{"2023-06-09", "the fourth of July 2022", "the fourth of July 2022 = 2022-07-04 2022-07-05"},
		{"2023-06-09", "Sept. 7, 2020", "Sept. 7, 2020 = 2020-09-07 2020-09-08"},
		{"2023-06-09", "7-9 May 2022", "7-9 May 2022 = 2022-05-07 2022-05-10"},
		{"2023-06-09", "May 30 to 31", "May 30 to 31 = 2023-05-30 2023-06-01"},
		{"2023-06-09", "Friday, 5 May 2023", "Friday, 5 May 2023 = 2023-05-05 2023-05-06"},
		{"2023-06-09", "2023-05-07", "2023-05-07 = 2023-05-07 2023-05-08"},
		{"2023-06-09", "2023-05-07T10:30:00Z", "2023-05-07 = 2023-05-07 2023-05-08"},
		{"2023-06-09", "(2023/05/07)", "2023/05/07 = 2023-05-07 2023-05-08"},
		{"2023-06-09", "13/05/2023 and 05/13/2023", "13/05/2023 = 2023-05-13 2023-05-14; 05/13/2023 = 2023-05-13 2023-05-14"},
		{"2023-06-09", "13.05.2023, 1.5.2023", ""},
		{"2023-06-09", "13-05-2023", "13-05-2023 = 2023-05-13 2023-05-14"},
		{"2023-06-09", "03/04/2023", "03/04/2023 = 2023-01-01 2024-01-01"},
		{"2023-06-09", "05/05/2023", "05/05/2023 = 2023-05-05 2023-05-06"},
		{"2023-06-09", "29 February 2023, 2022-02-30", "February 2023 = 2023-02-01 2023-03-01; 2022 = 2022-01-01 2023-01-01"},
		{"2023-06-09", "29 February 2024", "29 February 2024 = 2024-02-29 2024-03-01"},
		{"2022-06-09", "on 29 February", "29 February = 2024-02-29 2024-03-01"},
		{"2023-06-09", "December 31", "December 31 = 2022-12-31 2023-01-01"},
		{"2023-06-09", "on the 15th, we leave", "the 15th = 2023-06-15 2023-06-16"},
		{"2023-06-09", "on the 7th floor", ""},
		{"2023-03-30", "by the 31st", "the 31st = 2023-03-31 2023-04-01"},

		// Months, seasons, quarters, years.
		{"2023-06-09", "in June", "June = 2023-06-01 2023-07-01"},
		{"2023-06-09", "in September", "September = 2023-09-01 2023-10-01"},
		{"2023-02-09", "in November", "November = 2022-11-01 2022-12-01"},
		{"2023-06-09", "we will move in March", "March = 2024-03-01 2024-04-01"},
		{"2023-06-09", "May 2021", "May 2021 = 2021-05-01 2021-06-01"},
		{"2023-06-09", "May of '22", "May of '22 = 2022-05-01 2022-06-01"},
		{"2023-06-09", "2021-12", "2021-12 = 2021-12-01 2022-01-01"},
		{"2023-06-09", "June called, it may rain, we march, April slept", ""},
		{"2023-06-09", "last June and next June, not this June", "last June = 2022-06-01 2022-07-01; next June = 2024-06-01 2024-07-01; this June = 2023-06-01 2023-07-01"},
		{"2023-06-09", "summer of 2021", "summer of 2021 = 2021-06-01 2021-09-01"},
		{"2023-06-09", "winter 2021", "winter 2021 = 2021-12-01 2022-03-01"},
		{"2023-06-09", "last fall I had a fall", "last fall = 2022-09-01 2022-12-01"},
		{"2023-06-09", "in the spring", "spring = 2023-03-01 2023-06-01"},
		{"2023-06-09", "Q3 2024", "Q3 2024 = 2024-07-01 2024-10-01"},
		{"2023-06-09", "2024 Q4", "2024 Q4 = 2024-10-01 2025-01-01"},
		{"2023-06-09", "the third quarter of 2024", "third quarter of 2024 = 2024-07-01 2024-10-01"},
		{"2023-02-09", "last quarter", "last quarter = 2022-10-01 2023-01-01"},
		{"2023-06-09", "in 2019", "2019 = 2019-01-01 2020-01-01"},
		{"2023-06-09", "in 1492", "1492 = 1492-01-01 1493-01-01"},
		{"2023-06-09", "2016-2018", "2016 = 2016-01-01 2017-01-01; 2018 = 2018-01-01 2019-01-01"},
		{"2023-06-09", "room 2019, 2019 people, $2019, 2019%, 12019, x2019, 1.2019", ""},
		{"2023-06-09", "the 1990s", "1990s = 1990-01-01 2000-01-01"},
		{"2023-06-09", "the '80s", "'80s = 1980-01-01 1990-01-01"},
		{"2023-06-09", "at Christmas", "Christmas = 2022-12-25 2022-12-26"},
		{"2023-06-09", "New Year's Eve 2021", "New Year's Eve 2021 = 2021-12-31 2022-01-01"},

		// Days seen from the date.
		{"2023-06-09", "Yesterday I ran; today and tomorrow I rest", "Yesterday = 2023-06-08 2023-06-09; today = 2023-06-09 2023-06-10; tomorrow = 2023-06-10 2023-06-11"},
		{"2023-03-01", "yesterday", "yesterday = 2023-02-28 2023-03-01"},
		{"2024-03-01", "yesterday's run", "yesterday's = 2024-02-29 2024-03-01"},
		{"2023-06-09", "last night, this morning", "last night = 2023-06-08 2023-06-09; this morning = 2023-06-09 2023-06-10"},
		{"2023-06-09", "the day before yesterday", "the day before yesterday = 2023-06-07 2023-06-08"},
		{"2023-06-09", "the day after tomorrow", "the day after tomorrow = 2023-06-11 2023-06-12"},
		{"2023-06-09", "3 days ago", "3 days ago = 2023-06-06 2023-06-07"},
		{"2023-06-09", "a couple of days ago", "a couple of days ago = 2023-06-07 2023-06-08"},
		{"2023-06-09", "a few days ago", "a few days ago = 2023-06-04 2023-06-08"},
		{"2023-06-09", "twenty-one days ago", "twenty-one days ago = 2023-05-19 2023-05-20"},
		{"2023-06-09", "last Tuesday", "last Tuesday = 2023-06-06 2023-06-07"},
		{"2023-06-09", "last friday", "last friday = 2023-06-02 2023-06-03"},
		{"2024-01-01", "last Friday", "last Friday = 2023-12-29 2023-12-30"},
		{"2023-06-09", "next Friday", "next Friday = 2023-06-16 2023-06-17"},
		{"2023-12-31", "next Monday", "next Monday = 2024-01-01 2024-01-02"},
		{"2023-06-09", "this Sunday", "this Sunday = 2023-06-11 2023-06-12"},
		{"2023-06-09", "this past Sunday", "this past Sunday = 2023-06-04 2023-06-05"},
		{"2023-06-09", "on Monday", "Monday = 2023-06-05 2023-06-06"},
		{"2023-06-09", "see you on Monday", "Monday = 2023-06-12 2023-06-13"},
		{"2023-06-09", "every Monday, on Mondays", ""},
		{"2023-06-09", "Tuesday of last week", "Tuesday of last week = 2023-05-30 2023-05-31"},
		{"2023-06-09", "two Fridays ago", "two Fridays ago = 2023-05-26 2023-05-27"},
		{"2023-06-09", "the sun sat and he sat; he last sat down", ""},

		// Weeks, months and years seen from the date.
		{"2023-06-09", "last week", "last week = 2023-05-29 2023-06-05"},
		{"2024-01-03", "last week", "last week = 2023-12-25 2024-01-01"},
		{"2023-01-01", "this week", "this week = 2022-12-26 2023-01-02"},
		{"2023-06-09", "next week's trip", "next week's = 2023-06-12 2023-06-19"},
		{"2023-06-09", "this weekend", "this weekend = 2023-06-10 2023-06-12"},
		{"2023-06-12", "last weekend", "last weekend = 2023-06-10 2023-06-12"},
		{"2023-06-12", "over the weekend", "the weekend = 2023-06-10 2023-06-12"},
		{"2023-06-09", "two weeks ago", "two weeks ago = 2023-05-22 2023-05-29"},
		{"2023-06-09", "two weekends ago", "two weekends ago = 2023-05-27 2023-05-29"},
		{"2023-06-09", "in three months", "in three months = 2023-09-01 2023-10-01"},
		{"2023-01-31", "next month", "next month = 2023-02-01 2023-03-01"},
		{"2023-03-31", "a month ago", "a month ago = 2023-02-01 2023-03-01"},
		{"2023-12-31", "two months from now", "two months from now = 2024-02-01 2024-03-01"},
		{"2023-01-15", "last month", "last month = 2022-12-01 2023-01-01"},
		{"2024-02-29", "last year, a year ago", "last year = 2023-01-01 2024-01-01; a year ago = 2023-01-01 2024-01-01"},
		{"2023-06-09", "10 years ago", "10 years ago = 2013-01-01 2014-01-01"},
		{"2023-06-09", "earlier this year", "this year = 2023-01-01 2024-01-01"},
		{"2023-06-09", "the past three months", "past three months = 2023-03-09 2023-06-10"},
		{"2023-05-31", "the last three months", "last three months = 2023-02-28 2023-06-01"},
		{"2023-06-09", "the next two weeks", "next two weeks = 2023-06-09 2023-06-24"},
		{"2023-06-09", "the past week", "past week = 2023-06-02 2023-06-10"},
		{"2023-06-09", "the last week of May 2022", "May 2022 = 2022-05-01 2022-06-01"},
		{"2023-06-09", "for two weeks, once a year, 1.5 years ago, weeks ago", ""},

		// Expressions in expressions.
		{"2023-07-01", "the week before 9 June 2023", "the week before 9 June 2023 = 2023-05-29 2023-06-05"},
		{"2023-07-01", "the sunday before 25 May 2023", "the sunday before 25 May 2023 = 2023-05-21 2023-05-22"},
		{"2023-07-01", "the Friday after 25 May 2023", "the Friday after 25 May 2023 = 2023-05-26 2023-05-27"},
		{"2023-07-01", "two weeks after 25 May 2023", "two weeks after 25 May 2023 = 2023-06-05 2023-06-12"},
		{"2023-07-01", "the weekend before 17 July 2023", "the weekend before 17 July 2023 = 2023-07-15 2023-07-17"},
		{"2023-07-01", "the month after January 2023", "the month after January 2023 = 2023-02-01 2023-03-01"},
		{"2023-07-01", "the year before 2019", "the year before 2019 = 2018-01-01 2019-01-01"},
		{"2023-06-09", "a week from tomorrow", "a week from tomorrow = 2023-06-12 2023-06-19"},
		{"2023-06-09", "since 2016", "since 2016 = 2016-01-01 2023-06-10"},
		{"2023-06-09", "since last week", "since last week = 2023-05-29 2023-06-10"},
		{"2023-06-09", "between May 2022 and 1 June 2022", "May 2022 = 2022-05-01 2022-06-01; 1 June 2022 = 2022-06-01 2022-06-02"},
		{"2023-06-09", "", ""},
		{"2023-06-09", "the day before the day before the day before the day before the day before yesterday", "yesterday"},
	} {
		got := intervals(language.Dates(tt.text, day(t, tt.at)))
		if strings.Contains(tt.want, "=") || tt.want == "" {
			if got != tt.want {
				t.Errorf("%s, %q:\n got %s\nwant %s", tt.at, tt.text, got, tt.want)
			}
		} else if !strings.Contains(got, tt.want) {
			t.Errorf("%s, %q: %s has no %s", tt.at, tt.text, got, tt.want)
		}
	}
}

func TestDatesAreInTheZoneOfTheText(t *testing.T) {
	santiago, err := time.LoadLocation("America/Santiago") // no midnight on 2023-09-03
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2023, 9, 4, 0, 30, 0, 0, santiago)
	got := language.Dates("héllo, yesterday", at)
	if len(got) != 1 {
		t.Fatalf("%d mentions, want 1", len(got))
	}
	m := got[0]
	if want := time.Date(2023, 9, 4, 0, 0, 0, 0, santiago); !m.To.Equal(want) || m.From.Location() != santiago {
		t.Errorf("ends at %v, want %v", m.To, want)
	}
	if m.Start != 8 || m.End != 17 {
		t.Errorf("stands at %d to %d, want 8 to 17", m.Start, m.End)
	}
}

func TestDatesWithoutADate(t *testing.T) {
	got := intervals(language.Dates("yesterday, in June, last week, since 2016, on 7 May 2023", time.Time{}))
	want := "2016 = 2016-01-01 2017-01-01; 7 May 2023 = 2023-05-07 2023-05-08"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzDates(f *testing.F) {
	f.Add("the day before 9 June 2023, in 3 months, Q3 2024, 9999 years ago, the '80s", int64(1686290000))
	f.Add("2023-05-07 since Friday, May 5-7 \u2019s \xff\xfe 03/04/2023", int64(-62000000000))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		end := 0
		for _, m := range language.Dates(text, time.Unix(unix%200000000000, 0)) {
			if !m.From.Before(m.To) {
				t.Errorf("%q is from %v to %v", m.Words, m.From, m.To)
			}
			if m.Start < end || m.End <= m.Start || m.Words != text[m.Start:m.End] {
				t.Errorf("%q stands at %d to %d, after %d", m.Words, m.Start, m.End, end)
			}
			end = m.End
		}
	})
}

func BenchmarkDates(b *testing.B) {
	at := time.Date(2023, 6, 9, 10, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		language.Dates(turn, at)
	}
}
