// Package transfer carries long-term memory out of the runtime and into it: in
// the runtime's own format, line by line and without loss, and from the exports
// of other systems, with a report of what could not be kept. It is pure: it
// reads and writes streams and knows no store. What comes in are drafts; Place
// gives them their ids in a project.
package transfer

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// Format is a layout in which memory is exchanged.
type Format string

// The formats.
const (
	Stayd     Format = "stayd"     // our own: a header line, then a record a line
	Mem0      Format = "mem0"      // what get_all and history of Mem0 answer
	Letta     Format = "letta"     // an agent file, .af, of either layout
	LangGraph Format = "langgraph" // items of a LangGraph store
	AgentCore Format = "agentcore" // events and memory records of Bedrock AgentCore
)

// Formats lists all of them.
func Formats() []Format { return []Format{Stayd, Mem0, Letta, LangGraph, AgentCore} }

// Everybody as Options.From takes the memories of all that a file names.
const Everybody = "*"

// imported is the session of turns whose own is not named.
const imported = "imported"

// Options says whose memories are read, and what they become.
type Options struct {
	Format Format // empty is found out from the content

	// Actor is whom the drafts are about. Our own format needs none: its records
	// name theirs, and where Actor is set too, those of others are left out.
	Actor string
	// From is the actor's name in the file, where it is another. What names
	// somebody else is left out and reported; what names nobody is taken.
	From string
	// Namespaces has a template for a strategy, of the variables {actorId} and
	// {sessionId}. Strategies that it leaves out have the one of
	// DefaultNamespaces. Our own format keeps the namespaces that it has.
	Namespaces map[memory.Strategy]string
	// At is the time of what has none in the file.
	At time.Time
}

// DefaultNamespaces says where drafts of a strategy stand if nothing else is
// asked for.
func DefaultNamespaces() map[memory.Strategy]string {
	return map[memory.Strategy]string{
		memory.Turn:       "/actors/{actorId}/sessions/{sessionId}",
		memory.Semantic:   "/actors/{actorId}/facts",
		memory.Preference: "/actors/{actorId}/preferences",
		memory.Summary:    "/actors/{actorId}/summaries/{sessionId}",
		memory.Episodic:   "/actors/{actorId}/episodes",
		memory.Core:       "/actors/{actorId}/core",
	}
}

// Report says what became of a file.
type Report struct {
	Format Format `json:"format"`
	Read   int    `json:"read"` // entries of the file that can hold a memory
	Kept   int    `json:"kept"` // drafts; an entry with a history gives several
	Lost   []Loss `json:"not_kept"`
}

// Loss is one kind of thing that a file had and no draft has, or has otherwise.
type Loss struct {
	Kind     string   `json:"kind"` // a word that does not change
	What     string   `json:"what"` // for people
	Count    int      `json:"count"`
	Examples []string `json:"examples"` // where, at most maxExamples
}

const maxExamples = 3

// Import reads all of r and hands each draft to keep, in the order of the file.
// An error of keep ends the import and is returned.
//
// A draft has no Project and no Num. Its ID, and the ids in SupersededBy and
// Supersedes, name it among the drafts of its format: the same entry gives the
// same one each time that it is read. Place turns them into ids of a project.
// Source.External is the entry's id in the file.
//
// An error says what is wrong and where. Drafts before it were handed over by
// then. The report is right in any case as far as the file was read.
func Import(r io.Reader, opts Options, keep func(memory.Record) error) (Report, error) {
	if opts.Format == "" {
		var err error
		if opts.Format, r, err = Detect(r); err != nil {
			return Report{}, err
		}
	}
	im, err := newImporter(opts, keep)
	if err != nil {
		return Report{}, err
	}
	switch opts.Format {
	case Stayd:
		err = im.stayd(r)
	case Mem0:
		err = documents(r, im.mem0)
	case Letta:
		err = documents(r, im.letta)
	case LangGraph:
		err = documents(r, im.langGraph)
	case AgentCore:
		err = documents(r, im.agentCore)
	}
	return im.report, err
}

type importer struct {
	opts      Options
	keep      func(memory.Record) error
	report    Report
	positions map[string]int64     // of the last turn, by session
	latest    map[string]time.Time // turn, by session
	labels    map[string]bool      // of core blocks
	agents    map[string]bool      // names of agents of an agent file
}

func newImporter(opts Options, keep func(memory.Record) error) (*importer, error) {
	known := false
	for _, f := range Formats() {
		known = known || f == opts.Format
	}
	if !known {
		return nil, fmt.Errorf("there is no format %q: it is one of %v", opts.Format, Formats())
	}
	if opts.Format != Stayd && (opts.Actor == "" || opts.Actor == Everybody) {
		return nil, errors.New("whose memories these become is not said: name one actor")
	}
	if opts.From == "" {
		opts.From = opts.Actor
	}
	templates := DefaultNamespaces()
	for s, t := range opts.Namespaces {
		if _, ok := templates[s]; !ok {
			return nil, fmt.Errorf("there is no strategy %q to have a namespace: it is one of %v", s, memory.Strategies())
		}
		templates[s] = t
	}
	opts.Namespaces = templates
	return &importer{
		opts: opts, keep: keep, report: Report{Format: opts.Format, Lost: []Loss{}},
		positions: map[string]int64{}, latest: map[string]time.Time{}, labels: map[string]bool{},
		agents: map[string]bool{},
	}, nil
}

// lose reports one thing that is not kept. All of a kind have the same words.
func (im *importer) lose(kind, what, example string) {
	for i := range im.report.Lost {
		if l := &im.report.Lost[i]; l.Kind == kind {
			l.Count++
			if len(l.Examples) < maxExamples {
				l.Examples = append(l.Examples, example)
			}
			return
		}
	}
	im.report.Lost = append(im.report.Lost, Loss{Kind: kind, What: what, Count: 1, Examples: []string{example}})
}

// theirs reports whether name is somebody whose memories are not wanted, and
// notes what is left out for it.
func (im *importer) theirs(name, at string) bool {
	if name == "" || im.opts.From == Everybody || name == im.opts.From {
		return false
	}
	im.lose("other_actor", fmt.Sprintf("of another actor, while %q was asked for", im.opts.From), at+": "+clip(name))
	return true
}

// draft completes the record and hands it over.
func (im *importer) draft(rec memory.Record, at string) error {
	if strings.TrimSpace(rec.Text) == "" {
		im.lose("empty", "entries without text", at)
		return nil
	}
	session := rec.Source.SessionID
	if session == "" {
		session = imported
	}
	ns, err := memory.Fill(im.opts.Namespaces[rec.Strategy], map[string]string{"actorId": im.opts.Actor, "sessionId": session})
	if err != nil {
		return fmt.Errorf("%s: placing it: %w", at, err)
	}
	rec.Namespace, rec.Space, rec.Actor = ns, memory.SpaceOf(ns), im.opts.Actor
	if rec.ID == "" {
		rec.ID = draftID(&rec, 1)
	}
	if rec.RecordedAt.IsZero() {
		rec.RecordedAt = im.opts.At
	}
	if rec.ValidFrom.IsZero() {
		rec.ValidFrom = rec.RecordedAt
	}
	if rec.Strategy == memory.Turn {
		im.number(&rec, session, at)
	}
	if len(rec.Metadata) == 0 {
		rec.Metadata = nil
	}
	im.report.Kept++
	return im.keep(rec)
}

// number gives a turn its place in its conversation.
func (im *importer) number(rec *memory.Record, session, at string) {
	im.positions[session]++
	rec.Source.Position = im.positions[session]
	if rec.ValidFrom.Before(im.latest[session]) {
		im.lose("order", "turns that come in the file after later ones of their session: their places are those of the file", at)
		return
	}
	im.latest[session] = rec.ValidFrom
}

// clip shortens text to what fits in a report.
func clip(s string) string {
	const most = 80
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
