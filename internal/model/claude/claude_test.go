package claude_test

import (
	"testing"

	"github.com/stayd/stayd/internal/model/claude"
)

func TestForEffort(t *testing.T) {
	for _, c := range []struct {
		model, effort string
		summary       bool
		max           int64
		want          claude.Thinking
	}{
		{"claude-3-5-sonnet-20241022", "high", false, 8192, claude.Thinking{}},
		{"claude-3-opus-20240229", "high", false, 4096, claude.Thinking{}},
		{"anthropic.claude-v2:1", "high", false, 4096, claude.Thinking{}},
		{"claude-3-7-sonnet-20250219", "medium", false, 32000, claude.Thinking{Mode: claude.Budget, Budget: 8192}},
		{"claude-opus-4-20250514", "minimal", true, 32000, claude.Thinking{Mode: claude.Budget, Budget: 1024}},
		{"claude-opus-4-1-20250805", "none", false, 32000, claude.Thinking{}},
		{"claude-opus-4-5", "", true, 32000, claude.Thinking{}},
		{"claude-haiku-4-5-20251001", "max", false, 64000, claude.Thinking{Mode: claude.Budget, Budget: 30720}},
		{"claude-haiku-4-5-20251001", "max", false, 2048, claude.Thinking{Mode: claude.Budget, Budget: 1024}},
		{"claude-haiku-4-5-20251001", "max", false, 2047, claude.Thinking{}},
		{"claude-sonnet-4-6", "high", false, 100, claude.Thinking{Mode: claude.Adaptive, Effort: "high"}},
		{"eu.anthropic.claude-opus-4-8-v1", "xhigh", false, 100, claude.Thinking{Mode: claude.Adaptive, Effort: "xhigh"}},
		{"claude-opus-5", "", true, 100, claude.Thinking{Mode: claude.Adaptive}},
		{"claude-opus-5", "", false, 100, claude.Thinking{}},
		{"claude-haiku-5-5", "none", true, 100, claude.Thinking{Mode: claude.Off}},
		{"claude-mythos-preview", "minimal", false, 100, claude.Thinking{Mode: claude.Adaptive, Effort: "low"}},
	} {
		if got := claude.ForEffort(c.model, c.effort, c.summary, c.max); got != c.want {
			t.Errorf("%s, effort %q of %d: %+v, want %+v", c.model, c.effort, c.max, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		model  string
		tokens int64
		caches bool
	}{
		{"claude-3-haiku-20240307", 4096, false},
		{"anthropic.claude-instant-v1", 4096, false},
		{"claude-3-5-haiku-20241022", 8192, true},
		{"claude-3-5-sonnet-20241022", 8192, false},
		{"claude-3-7-sonnet-20250219", 32000, true},
		{"claude-sonnet-4-5", 32000, true},
		{"claude-fable-5-1", 32000, true},
	} {
		if got := claude.MaxTokens(c.model); got != c.tokens {
			t.Errorf("MaxTokens(%s) = %d, want %d", c.model, got, c.tokens)
		}
		if got := claude.Caches(c.model); got != c.caches {
			t.Errorf("Caches(%s) = %t, want %t", c.model, got, c.caches)
		}
	}
}

func TestNames(t *testing.T) {
	for _, word := range []string{"", "none", "minimal", "low", "medium", "high", "xhigh", "max"} {
		if !claude.Effort(word) {
			t.Errorf("Effort(%q) is false", word)
		}
	}
	if claude.Effort("extreme") {
		t.Error(`Effort("extreme") is true`)
	}
	if !claude.Is("us.anthropic.Claude-opus-5") || claude.Is("amazon.nova-pro-v1:0") {
		t.Error("Is tells the wrong models")
	}
}
