package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"golang.org/x/term"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
)

// person is somebody at the terminal.
type person struct {
	lines <-chan string // closed at the end of the input
	out   io.Writer
}

// personAt returns the person at the terminal, or nil where there is none. The
// reader ends with the process: a read of a terminal cannot be called off.
func personAt(in *os.File, out io.Writer) *person {
	if !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return newPerson(in, out)
}

func newPerson(in io.Reader, out io.Writer) *person {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return &person{lines: lines, out: out}
}

// ask returns what the person answers; io.EOF is no answer.
func (p *person) ask(ctx context.Context, question string) (string, error) {
	if _, err := fmt.Fprint(p.out, question); err != nil {
		return "", err
	}
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", io.EOF
		}
		return strings.TrimSpace(line), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// choose asks until the answer begins like one of the choices.
func (p *person) choose(ctx context.Context, question string, choices ...string) (string, error) {
	for {
		line, err := p.ask(ctx, question)
		if err != nil {
			return "", err
		}
		line = strings.ToLower(line)
		for _, c := range choices {
			if line != "" && strings.HasPrefix(c, line) {
				return c, nil
			}
		}
		question = "please answer with one of: " + strings.Join(choices, ", ") + "? "
	}
}

// answer has a person decide about what the session waits for. Where nobody is
// there, its error says how to answer.
func (f *follower) answer(ctx context.Context, actions []show.Action) error {
	for i := range actions {
		a := &actions[i]
		id := a.EffectID + a.CallID + a.Type
		if f.already[id] {
			continue
		}
		if f.person == nil {
			return f.unanswered(a)
		}
		if err := f.decide(ctx, a); err != nil {
			return err
		}
		f.already[id] = true
	}
	return nil
}

func (f *follower) decide(ctx context.Context, a *show.Action) error {
	what := a.Name
	if a.ServerLabel != "" {
		what = a.ServerLabel + "." + a.Name
	}
	switch a.Type {
	case show.ActionApproval:
		f.printer.Line(show.Warn, "%s needs your approval:", what)
		f.printer.Line(show.Warn, "  %s", a.Arguments)
		choice, err := f.person.choose(ctx, "approve or deny? ", "approve", "deny")
		if err != nil {
			return f.leave(a, err)
		}
		reason := ""
		if choice == "deny" {
			if reason, err = f.person.ask(ctx, "why (may be empty)? "); err != nil {
				return f.leave(a, err)
			}
		}
		return resolve(ctx, f.rt, f.session, a.EffectID, choice, "", reason)
	case show.ActionOutcome:
		return f.outcome(ctx, a, what)
	case show.ActionConsent:
		f.printer.Line(show.Warn, "the MCP server %s (%s) wants to know that %s lets the agent use it; answer here:", a.ServerLabel, a.ServerURL, cmp.Or(a.Actor, "somebody"))
		f.printer.Line(show.Warn, "  %s", a.URL)
		return nil // the session goes on by itself
	case show.ActionConnection:
		f.printer.Line(show.Warn, "the session waits for the machine of its environment %s; `stayd exec` connects it", a.EnvironmentID)
		return nil
	}
	f.printer.Line(show.Warn, "the agent calls the function %s, which is yours to perform:", what)
	f.printer.Line(show.Warn, "  %s", a.Arguments)
	output, err := f.person.ask(ctx, "what does it return? ")
	if err != nil {
		return f.leave(a, err)
	}
	return toolResult(ctx, f.rt, f.session, a.TurnID, a.CallID, output)
}

// outcome asks what became of a call.
func (f *follower) outcome(ctx context.Context, a *show.Action, what string) error {
	f.printer.Line(show.Warn, "nobody knows whether this call of %s took place: %s", what, a.Reason)
	f.printer.Line(show.Warn, "  %s", a.Arguments)
	f.printer.Line(show.Dim, "Look it up, then say: completed (it took place), failed (it did not), or retry (it did not; make it again).")
	choice, err := f.person.choose(ctx, "completed, failed or retry? ", "completed", "failed", "retry")
	if err != nil {
		return f.leave(a, err)
	}
	output := ""
	if choice == "completed" {
		if output, err = f.person.ask(ctx, "what did it return? "); err != nil {
			return f.leave(a, err)
		}
	}
	return resolve(ctx, f.rt, f.session, a.EffectID, choice, output, "")
}

func (f *follower) leave(a *show.Action, err error) error {
	if errors.Is(err, io.EOF) {
		return f.unanswered(a)
	}
	return err
}

// unanswered says how to answer later.
func (f *follower) unanswered(a *show.Action) error {
	what, how := a.Name, fmt.Sprintf("waits for your approval; answer with `stayd sessions resolve %s %s approve`, or deny", f.session, a.EffectID)
	switch a.Type {
	case show.ActionOutcome:
		how = fmt.Sprintf("was interrupted, and nobody knows whether it took place; say so with `stayd sessions resolve %s %s completed`, failed or retry", f.session, a.EffectID)
	case show.ActionFunction:
		how = "is a function of the client and waits for its result; send an agent.session.input.tool_result event by an SDK"
	case show.ActionConsent:
		if f.rt.app != nil {
			return &coded{code: exitPerson, err: fmt.Errorf("the MCP server %s is used when %s has consented on a page of the runtime, which ends with this command: start `stayd serve` and open the link that `stayd sessions show %s` tells", a.ServerLabel, cmp.Or(a.Actor, "somebody"), f.session)}
		}
		if a.URL == "" {
			return &coded{code: exitPerson, err: fmt.Errorf("the MCP server %s is used when %s has consented; the link to the page for it is told to keys that may write, and this one reads", a.ServerLabel, cmp.Or(a.Actor, "somebody"))}
		}
		what, how = "the MCP server "+a.ServerLabel, fmt.Sprintf("is used when %s has consented; the page for it is %s", cmp.Or(a.Actor, "somebody"), a.URL)
	case show.ActionConnection:
		what, how = "the environment "+a.EnvironmentID, "waits for its machine; connect it with `stayd exec`"
	}
	return &coded{code: exitPerson, err: fmt.Errorf("%s %s; then go on with `stayd run --session %s`", what, how, f.session)}
}

// toolResult answers a function call for the client.
func toolResult(ctx context.Context, rt *runtime, session, turn, call, output string) error {
	result := openai.AgentSessionInputParamAgentSessionInputToolResult{
		CallID: call, TurnID: turn, Success: true, Output: openai.AgentFunctionCallOutputParamUnion{OfString: openai.String(output)},
	}
	return rt.SDK.Beta.Agents.Sessions.Events.New(ctx, session, openai.BetaAgentSessionEventNewParams{
		Events: []openai.AgentSessionInputParamUnion{{OfParamAgentSessionInputToolResult: &result}},
	})
}
