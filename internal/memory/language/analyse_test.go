package language_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory/language"
)

func TestAnalyseTerms(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // terms with spaces between them
	}{
		{"", ""},
		{"The the THE", ""},
		{"Caroline's running shoes", "carolin run shoe"},
		{"Caroline\u2019s shoes", "carolin shoe"},
		{"I don't think they'll come; we've been there", "think come"},
		{"O'Brien's o'clock 'quoted'", "obrien oclock quot"},
		{"at 7 o'clock on May 7th, 2023", "7 oclock may 7 2023"},
		{"2023-05-07 costs 1,250.50 or 3.14", "2023 05 07 cost 1250.50 3.14"},
		{"the 1990s and version v1.2.3", "1990s version v1.2.3"},
		{"the U.S.A. and the US, not us", "usa us"},
		{"see file_name.go at example.com/path", "see file name go exampl com path"},
		{"Café naïve Łódź Straße Ærø", "cafe naiv lodz strass aero"},
		{"cafe\u0301", "cafe"},
		{"ＦＵＬＬ ｗｉｄｔｈ ﬁn", "full width fin"},
		{"東京タワーへ行く", "東京 京タ タワ ワー ーへ へ行 行く"},
		{"犬", "犬"},
		{"私はGoが好き2023年", "私は go が好 好き 2023 年"},
		{"한국어 말", "한국 국어 말"},
		{"Москва и Київ", "москва и киів"},
		{"👍 great 🎉", "great"},
		{"a\xffb\x00c \xf0\x28", "b c"},
		{strings.Repeat("x", 100), strings.Repeat("x", 64)},
		{"LGBTQ+ C++ R&D", "lgbtq c r d"},
		{"e-mail well-being", "e mail"},
	} {
		if got := strings.Join(language.Analyse(tt.text).Terms, " "); got != tt.want {
			t.Errorf("%q: terms %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestAnalyseWords(t *testing.T) {
	want := []string{"caroline", "agencies", "7th", "京都"}
	if diff := cmp.Diff(want, language.Analyse("Caroline's Agencies, 7th 京都").Words); diff != "" {
		t.Error(diff)
	}
}

func TestAnalyseFlags(t *testing.T) {
	const (
		question = 1 << iota
		number
		when
		first
	)
	for _, tt := range []struct {
		text string
		want int
	}{
		{"It may rain and march on.", 0},
		{"What did Caroline research", question},
		{"When I was young, we swam.", first},
		{"Where does she work?", question},
		{"Great. does she work there", question},
		{"Is Caroline single", question},
		{"Have a nice trip", 0},
		{"Do the dishes", 0},
		{"do you swim", question},
		{"see http://x.org/?q=1", number},
		{"好き？", question},
		{"two dogs and one cat", number},
		{"one cat", 0},
		{"I ran yesterday", first | when},
		{"We moved in May", first | when},
		{"on May 7", number | when},
		{"on 7 May", number | when},
		{"in 2019 it began", number | when},
		{"room 2519", number},
		{"three weeks ago", number | when},
		{"the US and us", first},
		{"the US", 0},
		{"That's mine", first},
	} {
		a, got := language.Analyse(tt.text), 0
		for i, on := range []bool{a.Question, a.HasNumber, a.HasTime, a.FirstPerson} {
			if on {
				got |= 1 << i
			}
		}
		if got != tt.want {
			t.Errorf("%q: question, number, time, first person are %04b from the right, want %04b", tt.text, got, tt.want)
		}
	}
}

func TestAnalyseNames(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"When did Caroline meet Melanie in Berlin?", []string{"carolin", "melani", "berlin"}},
		{"Running is fun. Thanks!", nil},
		{"Melanie's kids like Melanie", []string{"melani"}},
		{"Anna Karenina is long", []string{"karenina", "anna"}},
		{"Painting helps. I saw Dr. Seuss on Tuesday", []string{"dr", "seuss"}},
		{"ALL OF THIS IS LOUD", nil},
		{"we met Émile", []string{"emil"}},
		{"I think I know", nil},
	} {
		if diff := cmp.Diff(tt.want, language.Analyse(tt.text).Names); diff != "" {
			t.Errorf("%q: names (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestTerm(t *testing.T) {
	if term, ok := language.Term("Agencies"); !ok || term != "agenc" {
		t.Errorf("Agencies is %q, %t", term, ok)
	}
	for _, word := range []string{"the", "", "two words"} {
		if term, ok := language.Term(word); ok {
			t.Errorf("%q is the one term %q", word, term)
		}
	}
}

func FuzzAnalyse(f *testing.F) {
	f.Add("Caroline's café, 東京 and 3.14 U.S.A. don't_go")
	f.Add("\xff\xfe _'._:' ﷺ")
	f.Fuzz(func(t *testing.T, text string) {
		a := language.Analyse(text)
		total := 0
		if len(a.Words) != len(a.Terms) {
			t.Errorf("%d words became %d terms", len(a.Words), len(a.Terms))
		}
		for _, term := range append(a.Terms, a.Names...) {
			if term == "" || len(term) > language.MaxTerm || !utf8.ValidString(term) {
				t.Errorf("the term %q", term)
			}
			total += len(term)
		}
		// One character is at most 18 after NFKD, and each stands in two pairs and
		// perhaps in a name.
		if total > 3*33*len(text) {
			t.Errorf("%d bytes became %d", len(text), total)
		}
		if diff := cmp.Diff(a, language.Analyse(text)); diff != "" {
			t.Error(diff)
		}
	})
}

const turn = "I went to the LGBTQ support group yesterday and Caroline's talk about adoption agencies was really powerful, don't you think?"

func BenchmarkAnalyse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		language.Analyse(turn)
	}
}

func BenchmarkAnalyseUnicode(b *testing.B) {
	text := strings.ReplaceAll(turn, "'", "\u2019")
	b.ReportAllocs()
	for b.Loop() {
		language.Analyse(text)
	}
}

func TestIrregularFormsAreTheirBase(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"She went swimming and bought a boat", "go swim buy boats"},
		{"The children have taught", "a child teaches"},
		{"He lost his keys and was driven home", "lose key drive home"},
	} {
		got, want := language.Analyse(pair[0]).Terms, language.Analyse(pair[1]).Terms
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", pair[0], diff)
		}
	}
	if got := language.Analyse("a bit of rose").Terms; !slices.Equal(got, []string{"bit", "rose"}) {
		t.Errorf("words that are rather another word: %v", got)
	}
}
