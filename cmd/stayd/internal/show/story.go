package show

import (
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/event"
)

// Story is one line about a record: what it says, for a person. A payload is nil
// where the record's data was erased.
func Story(p event.Payload, width int) string {
	switch p := p.(type) {
	case nil:
		return "(erased)"
	case *event.SessionCreated:
		env := p.Environment.Type
		if p.Environment.Type == event.EnvironmentHosted {
			env = p.Environment.Sandbox
			if env == "" {
				env = event.SandboxJS
			}
		}
		return fmt.Sprintf("session of project %s, model %s, environment %s", p.Project, p.Agent.Model, env)
	case *event.SessionUpdated:
		return "settings of the session changed"
	case *event.SessionDeleted:
		return "deleted: " + p.Reason
	case *event.TurnCreated:
		var texts []string
		for i := range p.Items {
			texts = append(texts, p.Items[i].Text())
		}
		return "user: " + Shorten(strings.Join(texts, " "), width)
	case *event.TurnCancelRequested:
		return "someone asks that the turn be ended"
	case *event.TurnEnded:
		if p.Error != nil {
			return Shorten(fmt.Sprintf("turn %s: %s", p.Status, p.Error.Message), width)
		}
		return "turn " + p.Status
	case *event.ToolsListed:
		if p.Error != "" {
			return Shorten(fmt.Sprintf("the server %s did not list its tools: %s", p.ServerLabel, p.Error), width)
		}
		return fmt.Sprintf("the server %s offers %s", p.ServerLabel, names(p.Tools))
	case *event.SessionForked:
		return fmt.Sprintf("forked from %s after record %d", p.From, p.At)
	case *event.EnvironmentChanged, *event.Snapshot, *event.Egress, *event.TokenRenewed, *event.ArtifactDeleted:
		return environmentStory(p, width)
	case *event.ModelResponded:
		return modelStory(p, width)
	case *event.ContextCompacted:
		return fmt.Sprintf("%d items were summarised", len(p.Item.Covers))
	case *event.ToolResult:
		return "the client answers: " + Shorten(event.OutputText(p.Item.Output)+p.Item.Error, width)
	}
	return effectStory(p, width)
}

func environmentStory(p event.Payload, width int) string {
	switch p := p.(type) {
	case *event.EnvironmentChanged:
		switch {
		case p.Error != nil:
			return Shorten("environment "+p.Status+": "+p.Error.Message, width)
		case p.Reset > 0:
			return fmt.Sprintf("environment %s, made anew for the %d. time: its processes were lost, its files are kept", p.Status, p.Reset)
		}
		return "environment " + p.Status
	case *event.Snapshot:
		parts := []string{fmt.Sprintf("the workspace holds %d files, %d bytes: %.12s", p.Files, p.Bytes, p.Root)}
		for _, a := range p.Artifacts {
			parts = append(parts, "to be published: "+a.Path)
		}
		return Shorten(strings.Join(parts, ", "), width)
	case *event.Egress:
		var hosts []string
		for i := range p.Requests {
			r := &p.Requests[i]
			said := "allowed"
			if !r.Allowed {
				said = "refused"
			}
			hosts = append(hosts, fmt.Sprintf("%s %s:%d %s", r.Method, r.Host, r.Port, said))
		}
		return Shorten("network: "+strings.Join(hosts, ", "), width)
	case *event.TokenRenewed:
		return "the environment has a new token: the one before does not work any more"
	case *event.ArtifactDeleted:
		return "artifact " + Short(p.ArtifactID) + " was deleted"
	}
	return string(p.Kind())
}

func names(tools []event.ToolSpec) string {
	var out []string
	for i := range tools {
		out = append(out, tools[i].Name)
	}
	return strings.Join(out, ", ")
}

func modelStory(p *event.ModelResponded, width int) string {
	var parts []string
	for i := range p.Items {
		it := &p.Items[i]
		switch {
		case it.Type == event.ItemMessage:
			parts = append(parts, it.Text())
		case it.Type == event.ItemCommandExecution:
			parts = append(parts, "$ "+Shorten(it.Command, width/2))
		case it.IsCall():
			parts = append(parts, "→ "+it.Name+" "+Shorten(string(it.Arguments), width/2))
		}
	}
	return p.Model + ": " + Shorten(strings.Join(parts, " "), width)
}

func effectStory(p event.Payload, width int) string {
	switch p := p.(type) {
	case *event.EffectStarted:
		return fmt.Sprintf("%s effect %s begins, attempt %d, epoch %d (%s)", p.What, Short(p.EffectID), p.Attempt, p.Epoch, p.Class)
	case *event.EffectFailed:
		again := "is given up"
		if p.RetryAt != nil {
			again = "will be tried again"
		}
		return Shorten(fmt.Sprintf("effect %s failed and %s: %s", Short(p.EffectID), again, p.Message), width)
	case *event.EffectFinished:
		text := event.OutputText(p.Output)
		if p.Error != "" {
			text = p.Error
		}
		return fmt.Sprintf("effect %s %s: %s", Short(p.EffectID), p.Status, Shorten(text, width))
	case *event.EffectUnknown:
		return Shorten(fmt.Sprintf("nobody knows whether effect %s took place: %s", Short(p.EffectID), p.Reason), width)
	case *event.EffectResolved:
		return Shorten(fmt.Sprintf("a person decides about effect %s: %s %s", Short(p.EffectID), p.Decision, p.Reason), width)
	}
	return string(p.Kind())
}

// Short is the beginning of an id, enough to tell it from others at a glance.
func Short(id string) string {
	_, rest, ok := strings.Cut(id, "_")
	if !ok || len(rest) < 8 {
		return id
	}
	return rest[:8]
}
