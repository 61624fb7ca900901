// Package claude knows what the generations of Claude models take, whoever
// serves them: how they are asked to think, and how many tokens they may write.
// It knows no wire format.
package claude

import (
	"regexp"
	"strconv"
	"strings"
)

// Mode is how a model thinks.
type Mode int

// The modes.
const (
	Default  Mode = iota // say nothing
	Off                  // thinking disabled, explicitly
	Budget               // thinking enabled, with a budget of tokens
	Adaptive             // the model decides, guided by an effort
)

// Thinking is how to ask for an effort.
type Thinking struct {
	Mode   Mode
	Budget int64  // tokens, in mode Budget
	Effort string // low, medium, high, xhigh or max, in mode Adaptive; empty is the model's default
}

// Is reports whether the model, by the name that Anthropic or Bedrock has for
// it, is a Claude.
func Is(model string) bool { return strings.Contains(strings.ToLower(model), "claude") }

// Supported efforts and the budgets that stand for them where a model takes a
// budget. 1024 is the least that the API allows.
var budgets = map[string]int64{
	"minimal": 1024,
	"low":     4096,
	"medium":  8192,
	"high":    16384,
	"xhigh":   24576,
	"max":     30720,
}

const minBudget = 1024

// Effort reports whether the word is one of the efforts of the Agents API.
func Effort(word string) bool {
	_, ok := budgets[word]
	return ok || word == "" || word == "none"
}

// ForEffort says how the model is asked for an effort, which is one that Effort
// knows. maxTokens bounds thinking and answer together, so a budget is cut to
// leave half of it to the answer; where not even the least budget fits, the
// model does not think. A summary is only to be had of a model that thinks: one
// that decides by itself is told so.
//
// Claude 3.7 to 4.5 take a budget; from 4.6 on, and by all later names, models
// think adaptively. Models before 3.7 do not think.
func ForEffort(model, effort string, summary bool, maxTokens int64) Thinking {
	switch g := generation(model); {
	case g < 307:
		return Thinking{}
	case g < 406:
		if effort == "" || effort == "none" {
			return Thinking{}
		}
		budget := min(budgets[effort], maxTokens/2)
		if budget < minBudget {
			return Thinking{}
		}
		return Thinking{Mode: Budget, Budget: budget}
	}
	switch effort {
	case "none":
		return Thinking{Mode: Off}
	case "":
		if summary {
			return Thinking{Mode: Adaptive}
		}
		return Thinking{}
	case "minimal":
		effort = "low"
	}
	return Thinking{Mode: Adaptive, Effort: effort}
}

// Thinks reports whether the model can be asked to think at all.
func Thinks(model string) bool { return generation(model) >= 307 }

// Caches reports whether the model caches prompts on Bedrock: Claude 3.5 Haiku
// and everything from 3.7 on.
func Caches(model string) bool {
	return generation(model) >= 307 || strings.Contains(strings.ToLower(model), "claude-3-5-haiku")
}

// MaxTokens is how many tokens an answer may have where the caller does not
// say: what every model of the generation allows.
func MaxTokens(model string) int64 {
	switch g := generation(model); {
	case g < 305:
		return 4096
	case g < 307:
		return 8192
	}
	return 32000
}

var (
	// As in claude-3-7-sonnet-20250219 and claude-3-opus-20240229.
	numberFirst = regexp.MustCompile(`claude-(\d)(?:-(\d)(?:\D|$))?`)
	// As in claude-opus-4-6, claude-sonnet-4-20250514 and claude-haiku-5-5.
	nameFirst = regexp.MustCompile(`claude-[a-z]+-(\d{1,2})(?:-(\d{1,2})(?:\D|$))?`)
	oldest    = regexp.MustCompile(`claude-(?:v\d|instant)`)
)

// generation is a hundred times the major version and the minor one: 406 is
// Claude 4.6. A name that says none is the newest.
func generation(model string) int {
	model = strings.ToLower(model)
	if oldest.MatchString(model) {
		return 200
	}
	m := nameFirst.FindStringSubmatch(model)
	if m == nil {
		m = numberFirst.FindStringSubmatch(model)
	}
	if m == nil {
		return 9900
	}
	major, _ := strconv.Atoi(m[1]) // one or two digits
	minor, _ := strconv.Atoi(m[2]) // so too, or nothing, which is 0
	return major*100 + minor
}
