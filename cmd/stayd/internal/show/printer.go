package show

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"

	"github.com/stayd/stayd/internal/event"
)

// Styles of what is shown. A writer that is no terminal gets plain text.
var (
	Dim   = lipgloss.NewStyle().Faint(true)
	Bold  = lipgloss.NewStyle().Bold(true)
	Call  = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	Good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	Warn  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	Bad   = lipgloss.NewStyle().Foreground(lipgloss.Red)
	plain = lipgloss.NewStyle()
)

// Paint styles a text and leaves its lines as they are. What comes from a model
// or a tool cannot command the terminal: control characters are dropped.
func Paint(s lipgloss.Style, text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		if line := printable(lines[i]); line != "" {
			lines[i] = s.Render(line)
		} else {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

// Printer prints the events of one session.
type Printer struct {
	w     io.Writer
	width int // characters that a shortened text may have
	// streamed is what was printed of the item that is coming in.
	streamed map[string]string
	open     string // the item whose text the cursor is behind
	ended    bool   // whether that text ended its line
	started  map[string]time.Time
	now      func() time.Time
}

// NewPrinter returns a printer. Texts that are shortened get width characters.
func NewPrinter(w io.Writer, width int, now func() time.Time) *Printer {
	return &Printer{w: w, width: max(width, 40), streamed: map[string]string{}, started: map[string]time.Time{}, now: now}
}

func (p *Printer) print(s string) {
	lipgloss.Fprint(p.w, s) //nolint:errcheck,gosec // a terminal that is gone is noticed by others
}

// Line prints a line of its own.
func (p *Printer) Line(s lipgloss.Style, format string, args ...any) {
	p.rest()
	p.print(Paint(s, fmt.Sprintf(format, args...)) + "\n")
}

// rest ends a text that the cursor is behind.
func (p *Printer) rest() {
	if p.open == "" {
		return
	}
	if !p.ended {
		p.print("\n")
	}
	p.open = ""
}

// Quiet reports whether nothing is half printed.
func (p *Printer) Quiet() bool { return p.open == "" }

// Event prints an event, or nothing.
func (p *Printer) Event(e *Event) {
	switch e.Type {
	case "agent.session.turn.output_text.delta":
		p.delta(plain, e.ItemID, e.Delta)
	case "agent.session.turn.reasoning_summary_text.delta":
		p.delta(Dim, e.ItemID, e.Delta)
	case "agent.output.command_execution_output.delta":
		p.commandOutput(e.ItemID, e.Delta)
	case "agent.session.turn.item.added":
		p.added(&e.Item)
	case "agent.session.turn.item.done":
		if it := &e.Item; it.Type == event.ItemCommandExecution && p.streamed[it.ID] == "" {
			// What it printed before anybody listened.
			p.commandOutput(it.ID, event.OutputText(it.Output))
		}
		p.done(&e.Item)
	case "agent.session.environment.failed":
		if e.Environment.Error != nil {
			p.Line(Bad, "environment: %s", e.Environment.Error.Message)
		}
	case "agent.session.turn.failed":
		if e.Turn.Error != nil {
			p.Line(Bad, "failed: %s (%s)", e.Turn.Error.Message, e.Turn.Error.Code)
		}
	case "agent.session.turn.cancelled":
		p.Line(Warn, "cancelled")
	}
}

func (p *Printer) delta(s lipgloss.Style, item, text string) {
	if p.open != item {
		p.rest()
		p.open = item
	}
	p.streamed[item] += text
	p.ended = strings.HasSuffix(text, "\n")
	p.print(Paint(s, text))
}

// outputLines is how many lines of what a command prints are shown.
const outputLines = 8

// commandOutput shows the first lines of what a command prints. How much more
// there was is said when it has ended.
func (p *Printer) commandOutput(item, text string) {
	if text == "" {
		return
	}
	shown := strings.Count(p.streamed[item], "\n")
	if left := outputLines - shown; left <= 0 {
		p.streamed[item] += text
		return
	} else if lines := strings.SplitAfterN(text, "\n", left+1); len(lines) > left {
		p.delta(Dim, item, strings.Join(lines[:left], ""))
		p.streamed[item] += lines[left]
		return
	}
	p.delta(Dim, item, text)
}

func (p *Printer) added(it *Item) {
	p.started[it.ID] = p.now()
	if n := len(it.MemoryIDs); n > 0 {
		p.Line(Dim, "memories recalled: %d", n)
	}
	switch it.Type {
	case event.ItemMCPCall, event.ItemFunctionCall:
		p.Line(Call, "→ %s %s", callName(it), Shorten(string(it.Arguments), p.width))
	case event.ItemCommandExecution:
		p.Line(Call, "$ %s", Shorten(it.Command, p.width))
	}
}

func (p *Printer) done(it *Item) {
	switch it.Type {
	case event.ItemMessage:
		if it.Role == event.RoleAssistant {
			p.text(plain, it.ID, joined(it.Content))
		}
	case event.ItemReasoning:
		p.text(Dim, it.ID, joined(it.Summary))
	case event.ItemMCPCall:
		p.result(it, callName(it))
	case event.ItemCommandExecution:
		p.result(it, "")
	case event.ItemCompaction:
		p.Line(Dim, "the conversation was shortened")
	}
}

// text prints what an item says, unless it was printed as it came in.
func (p *Printer) text(s lipgloss.Style, id, text string) {
	if text != "" && p.streamed[id] != text {
		p.rest()
		p.print(Paint(s, text))
		p.open, p.ended = id, strings.HasSuffix(text, "\n")
	}
	p.rest()
	delete(p.streamed, id)
}

func (p *Printer) result(it *Item, name string) {
	took := ""
	if t, ok := p.started[it.ID]; ok {
		if d := p.now().Sub(t); d >= 100*time.Millisecond {
			took = " (" + d.Round(100*time.Millisecond).String() + ")"
		}
	}
	out := event.OutputText(it.Output)
	if printed := p.streamed[it.ID]; printed != "" {
		out = ""
		if more := strings.Count(strings.TrimSuffix(printed, "\n"), "\n") + 1 - outputLines; more > 0 {
			out = fmt.Sprintf("done, %d more lines", more)
		}
		delete(p.streamed, it.ID)
	}
	mark, style := "←", Good
	switch {
	case it.Status == event.StatusFailed || it.Error != "":
		mark, style = "✗", Bad
		if it.Error != "" {
			out = it.Error
		}
	case it.Status == event.StatusIncomplete:
		mark, style = "?", Warn
	case it.ExitCode != nil && *it.ExitCode != 0:
		mark, style = "✗", Bad
		out = fmt.Sprintf("exit code %d %s", *it.ExitCode, out)
	}
	if name != "" {
		name += " "
	}
	if out == "" {
		out = "done"
	}
	p.Line(style, "%s %s%s%s", mark, name, Shorten(out, p.width), took)
}

func callName(it *Item) string {
	if it.ServerLabel == "" || it.ServerLabel == event.EnvironmentLabel {
		return it.Name
	}
	return it.ServerLabel + "." + it.Name
}

func joined(parts []event.Content) string {
	var b strings.Builder
	for _, c := range parts {
		b.WriteString(c.Text)
	}
	return b.String()
}

// Shorten puts a text on one line of at most width characters.
func Shorten(s string, width int) string {
	s = strings.Join(strings.Fields(s), " ")
	s = printable(s)
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
}

// Item prints an item of a conversation that is over, with what a user said.
func (p *Printer) Item(it *Item) {
	if it.Type == event.ItemMessage && it.Role == event.RoleUser {
		p.Line(Bold, "> %s", joined(it.Content))
		return
	}
	if n := len(it.MemoryIDs); n > 0 {
		p.Line(Dim, "memories recalled: %d", n)
		return
	}
	if it.Type == event.ItemFunctionCallOutput {
		p.Line(Good, "← %s", Shorten(event.OutputText(it.Output)+it.Error, p.width))
		return
	}
	p.added(it)
	delete(p.started, it.ID)
	p.done(it)
}
