package locomo_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory/locomo"
)

// A prompt that changes needs another version, or results would be compared that
// do not compare.
func TestPromptsArePinned(t *testing.T) {
	t.Parallel()
	c := &locomo.Conversation{Speakers: []string{"Ilse", "Marek"}}
	q := &locomo.Question{Text: "Who drives?", Answer: "Jonas"}
	for want, p := range map[string]locomo.Prompt{
		"locomo-answer-1 e037b88fdb566b15": locomo.Ask(c, "[8 May 2024] Ilse: Jonas drives.", "Who drives?"),
		"locomo-judge-1 c0401be5ab0b6d8a":  locomo.Judge(q, "her brother Jonas"),
	} {
		sum := sha256.Sum256([]byte(p.System + "\x00" + p.User))
		if got := p.Version + " " + hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("the prompt is %s and should be %s:\n%s\n%s", got, want, p.System, p.User)
		}
	}
	if p := locomo.Ask(c, "CONTEXT", "QUESTION"); !strings.Contains(p.User, "CONTEXT") || !strings.Contains(p.User, "QUESTION") || !strings.Contains(p.User, "Ilse and Marek") {
		t.Errorf("the prompt is\n%s", p.User)
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{" Jonas\n": "Jonas", "ANSWER: 2 June, 2024": "2 June, 2024", "": "", "answers vary": "answers vary"} {
		if got := locomo.ReadAnswer(reply); got != want {
			t.Errorf("of %q the answer is %q", reply, got)
		}
	}
}

func TestReadVerdict(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]bool{
		"CORRECT": true, "correct.": true, " WRONG\n": false, "Wrong": false, `{"label": "CORRECT"}`: true,
		"The day is another one.\n**WRONG**": false, "That is the correct day: CORRECT": true,
	} {
		if got, err := locomo.ReadVerdict(reply); err != nil || got != want {
			t.Errorf("of %q the verdict is %v, %v", reply, got, err)
		}
	}
	for _, reply := range []string{"", "INCORRECT", "CORRECT or WRONG?", "It is correct, I think"} {
		if got, err := locomo.ReadVerdict(reply); err == nil {
			t.Errorf("of %q the verdict is %v", reply, got)
		}
	}
}

func TestTokenF1(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer, right string
		want          float64
	}{
		{"The 2 June 2024", "2 June, 2024.", 1},
		{"Marek's kiln", "the kiln of Marek’s", 0.8},
		{"June", "2 June 2024", 0.5},
		{"kiln, a kiln", "kiln", 2.0 / 3},
		{"bowl", "kiln", 0},
		{"", "kiln", 0},
		{"the", "", 1},
	} {
		if got := locomo.TokenF1(c.answer, c.right); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%q for %q is %v, want %v", c.answer, c.right, got, c.want)
		}
	}
}
