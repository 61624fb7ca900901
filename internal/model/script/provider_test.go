package script_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/script"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func says(text string) string {
	return "steps: [{when: {always: true}, reply: {text: '" + text + "'}}]\n"
}

func ask(p *script.Provider, t *testing.T, name string) string {
	t.Helper()
	req := request(user("hi"))
	req.Model = name
	resp, err := p.Generate(t.Context(), req, nil)
	var e *model.Error
	switch {
	case errors.As(err, &e):
		return e.Error()
	case err != nil:
		t.Fatal(err)
	}
	return resp.Model + ": " + answer(resp)
}

func TestProvider(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scripts")
	p := script.NewProvider(dir)
	expect := func(name, want string) {
		t.Helper()
		if got := ask(p, t, name); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	expect("a", "resource_not_found: no script a: write the file a.yaml in the directory of scripts (there are none)")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.yaml", says("one"))
	write(t, dir, "b-2.yaml", says("two"))
	write(t, dir, "notes.txt", "")
	write(t, filepath.Dir(dir), "secret.yaml", says("outside"))
	expect("a", "script/a: one")
	expect("script/b-2", "script/b-2: two")
	expect("c", "resource_not_found: no script c: write the file c.yaml in the directory of scripts (there are a, b-2)")
	for _, bad := range []string{"../secret", "", ".hidden", `a\b`, "x/../a"} {
		if got := ask(p, t, bad); !strings.HasSuffix(got, "is not the name of a script: a name has letters, digits, dots, dashes and underscores") {
			t.Errorf("%q: %s", bad, got)
		}
	}

	write(t, dir, "a.yaml", says("changed"))
	expect("a", "script/a: changed")
	write(t, dir, "a.yaml", "stepz: []\n")
	expect("a", `invalid_request: script/a cannot be read: a.yaml:1: unknown field "stepz" in a script; known are description, steps`)
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "a.yaml:1: unknown field") {
		t.Errorf("Check: %v", err)
	}
	names, err := p.Names()
	if diff := cmp.Diff([]string{"a", "b-2"}, names); diff != "" || err != nil {
		t.Errorf("Names: %v\n%s", err, diff)
	}
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	expect("a", "resource_not_found: no script a: write the file a.yaml in the directory of scripts (there are b-2)")
	if err := p.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func TestProviderCountsAttemptsOverReloads(t *testing.T) {
	dir := t.TempDir()
	flaky := "steps: [{when: {always: true}, reply: {text: fine, error: {code: busy, times: 2}}}]\n"
	write(t, dir, "f.yaml", flaky)
	p := script.NewProvider(dir)
	var got []string
	got = append(got, ask(p, t, "f"))
	write(t, dir, "f.yaml", "# changed\n"+flaky)
	got = append(got, ask(p, t, "f"), ask(p, t, "f"))
	if diff := cmp.Diff([]string{"busy: the script says so", "busy: the script says so", "script/f: fine"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestProviderConcurrently(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", says("hello"))
	p := script.NewProvider(dir)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				if got := ask(p, t, "a"); got != "script/a: hello" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestExamples(t *testing.T) {
	p := script.NewProvider(filepath.Join("..", "..", "..", "examples", "scripts"))
	names, err := p.Names()
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// TestDocumentation reads every example of the page on scripts.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "scripts.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the page has no examples")
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if _, err := script.Parse("example", []byte(text)); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}
