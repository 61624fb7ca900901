// Package locomo measures recall on conversations in the layout of LoCoMo
// (Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM
// Agents", ACL 2024). It reads a file that the user has, asks a searcher for the
// turns that a question needs, and counts. It knows neither memory nor models:
// for answers it makes prompts and reads replies. The data itself may only be
// used for measuring, and is no part of this repository.
package locomo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Category is the kind of a question.
type Category int

// The categories, by their numbers in the data.
const (
	MultiHop Category = iota + 1
	Temporal
	OpenDomain
	SingleHop
	Adversarial // has no answer in the conversation, and is not counted
)

// Categories lists those that are counted.
func Categories() []Category { return []Category{MultiHop, Temporal, OpenDomain, SingleHop} }

func (c Category) String() string {
	switch c {
	case MultiHop:
		return "multi-hop"
	case Temporal:
		return "temporal"
	case OpenDomain:
		return "open-domain"
	case SingleHop:
		return "single-hop"
	case Adversarial:
		return "adversarial"
	}
	return "category " + strconv.Itoa(int(c))
}

// Conversation is one of the conversations, with its questions.
type Conversation struct {
	ID        string
	Speakers  []string // the two, by name
	Turns     []Turn   // in the order in which they were said
	Questions []Question
}

// Turn is what somebody said.
type Turn struct {
	ID      string // dia_id, such as D3:11
	Speaker string
	Text    string    // with what a picture shows, where there is one
	Session int       // from 1
	At      time.Time // when the session began; the data has no zone, it is taken as UTC
}

// Question is a question about a conversation.
type Question struct {
	Text     string
	Answer   string // of an adversarial one: empty
	Category Category
	Evidence []string // ids of the turns that answer it, each once and all there
}

// Counted reports whether recall is counted over the question: those of the
// category Adversarial and those without evidence are left out.
func (q *Question) Counted() bool { return q.Category != Adversarial && len(q.Evidence) > 0 }

// Notes says what reading came upon.
type Notes struct {
	Questions       int `json:"questions"` // all of them
	Counted         int `json:"counted"`
	Adversarial     int `json:"adversarial"`      // left out
	WithoutEvidence int `json:"without_evidence"` // left out
	DroppedEvidence int `json:"dropped_evidence"` // ids that name no turn of the conversation
}

// Read reads a file of conversations. Fields that it does not need are passed
// over: the data comes with summaries and observations too.
func Read(r io.Reader) ([]Conversation, Notes, error) {
	var raw []struct {
		SampleID     string                     `json:"sample_id"`
		Conversation map[string]json.RawMessage `json:"conversation"`
		QA           []question                 `json:"qa"`
	}
	var notes Notes
	dec := json.NewDecoder(r)
	if err := dec.Decode(&raw); err != nil {
		return nil, notes, fmt.Errorf("this is not a file of LoCoMo, a JSON list of conversations: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, notes, errors.New("there is more after the list of conversations: give one file of LoCoMo")
	}
	if len(raw) == 0 {
		return nil, notes, errors.New("the list of conversations is empty")
	}
	conversations := make([]Conversation, 0, len(raw))
	for i, c := range raw {
		conv := Conversation{ID: c.SampleID}
		if conv.ID == "" {
			conv.ID = fmt.Sprintf("conversation %d", i+1)
		}
		if err := conv.sessions(c.Conversation); err != nil {
			return nil, notes, fmt.Errorf("%s: %w", conv.ID, err)
		}
		for j, q := range c.QA {
			if err := conv.ask(q, &notes); err != nil {
				return nil, notes, fmt.Errorf("%s: question %d: %w", conv.ID, j+1, err)
			}
		}
		conversations = append(conversations, conv)
	}
	return conversations, notes, nil
}

// sessionLayout is how the data writes the time of a session.
const sessionLayout = "3:04 pm on 2 January, 2006"

func (c *Conversation) sessions(fields map[string]json.RawMessage) error {
	for _, key := range []string{"speaker_a", "speaker_b"} {
		var name string
		if json.Unmarshal(fields[key], &name) == nil && name != "" {
			c.Speakers = append(c.Speakers, name)
		}
	}
	var numbers []int
	for key := range maps.Keys(fields) {
		if n, err := strconv.Atoi(strings.TrimPrefix(key, "session_")); err == nil && strings.HasPrefix(key, "session_") {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	seen := map[string]bool{}
	for _, n := range numbers {
		key := "session_" + strconv.Itoa(n)
		var when string
		if err := json.Unmarshal(fields[key+"_date_time"], &when); err != nil {
			return fmt.Errorf("%s has no %s_date_time that is text", key, key)
		}
		at, err := time.Parse(sessionLayout, strings.TrimSpace(when))
		if err != nil {
			return fmt.Errorf("%s_date_time is %q, and not like %q", key, when, sessionLayout)
		}
		if err := c.session(n, at, fields[key], seen); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if len(c.Turns) == 0 {
		return errors.New("it has no turns: they stand in fields session_1, session_2, ... of its field conversation")
	}
	return nil
}

func (c *Conversation) session(n int, at time.Time, raw json.RawMessage, seen map[string]bool) error {
	var turns []struct {
		Speaker string `json:"speaker"`
		DiaID   string `json:"dia_id"`
		Text    string `json:"text"`
		Caption string `json:"blip_caption"`
	}
	if err := json.Unmarshal(raw, &turns); err != nil {
		return fmt.Errorf("it is no list of turns: %w", err)
	}
	for i, t := range turns {
		ids, rest := turnIDs(t.DiaID)
		if len(ids) != 1 || rest != 0 {
			return fmt.Errorf("turn %d: the dia_id is %q, and not like D3:11", i+1, t.DiaID)
		}
		if seen[ids[0]] {
			return fmt.Errorf("turn %d: the dia_id %s is there twice", i+1, t.DiaID)
		}
		seen[ids[0]] = true
		text := t.Text
		if t.Caption != "" {
			text = strings.TrimSpace(text + " [shares a picture: " + t.Caption + "]")
		}
		c.Turns = append(c.Turns, Turn{ID: ids[0], Speaker: t.Speaker, Text: text, Session: n, At: at})
	}
	return nil
}

type question struct {
	Question string   `json:"question"`
	Answer   any      `json:"answer"` // text, or a number such as a year
	Category Category `json:"category"`
	Evidence []string `json:"evidence"`
}

func (c *Conversation) ask(raw question, notes *Notes) error {
	if raw.Category < MultiHop || raw.Category > Adversarial {
		return fmt.Errorf("the category is %d, and should be from 1 to 5", int(raw.Category))
	}
	q := Question{Text: raw.Question, Category: raw.Category}
	switch a := raw.Answer.(type) {
	case string:
		q.Answer = a
	case float64:
		q.Answer = strconv.FormatFloat(a, 'f', -1, 64)
	case nil:
	default:
		return fmt.Errorf("the answer is %v, and should be text or a number", a)
	}
	for _, entry := range raw.Evidence {
		ids, rest := turnIDs(entry)
		notes.DroppedEvidence += rest
		for _, id := range ids {
			switch {
			case !c.has(id):
				notes.DroppedEvidence++
			case !slices.Contains(q.Evidence, id):
				q.Evidence = append(q.Evidence, id)
			}
		}
	}
	notes.Questions++
	switch {
	case q.Category == Adversarial:
		notes.Adversarial++
	case len(q.Evidence) == 0:
		notes.WithoutEvidence++
	default:
		notes.Counted++
	}
	c.Questions = append(c.Questions, q)
	return nil
}

func (c *Conversation) has(id string) bool {
	return slices.ContainsFunc(c.Turns, func(t Turn) bool { return t.ID == id })
}

var diaID = regexp.MustCompile(`D:?(\d{1,6}):(\d{1,6})`)

// turnIDs finds the ids in a text that may hold several, in their one spelling:
// D30:05 is D30:5. It also counts the words that are no ids.
func turnIDs(s string) (ids []string, rest int) {
	for _, m := range diaID.FindAllStringSubmatch(s, -1) {
		session, err1 := strconv.Atoi(m[1])
		turn, err2 := strconv.Atoi(m[2])
		if err1 == nil && err2 == nil {
			ids = append(ids, fmt.Sprintf("D%d:%d", session, turn))
		}
	}
	left := diaID.ReplaceAllString(s, " ")
	return ids, len(strings.FieldsFunc(left, func(r rune) bool { return strings.ContainsRune(" \t\n;,", r) }))
}
