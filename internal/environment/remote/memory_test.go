package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openMemory(t *testing.T, name string) *Memory {
	t.Helper()
	m, err := OpenMemory(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// describe is what is known of an effect.
func describe(m *Memory, id string) string {
	switch e := m.known(id); {
	case e == nil:
		return "nothing"
	case e.Result == nil:
		return "begun"
	default:
		return string(e.Result)
	}
}

// TestMemory has what was begun, and what it gave, known after the file was opened
// again, a line that a crash cut off among its lines.
func TestMemory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "effects")
	m := openMemory(t, name)
	for _, err := range []error{
		m.begin("eff_1", "h1"), m.begin("eff_2", "h2"), m.end("eff_1", &result{Failed: true, Error: "no"}), m.begin("eff_3", "h3"),
		m.end("eff_3", &result{NoAnswer: true}), m.begin("eff_3", "h3"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenMemory(name); !errors.Is(err, ErrInUse) {
		t.Errorf("a second time: %v, want ErrInUse", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.begin("eff_4", "h4"); err == nil {
		t.Error("a closed memory takes an effect")
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"begin":"eff_5","ca`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 { // the second time, the cut line is gone
		m = openMemory(t, name)
		for id, want := range map[string]string{
			"eff_1": `{"failed":true,"error":"no"}`, "eff_2": "begun", "eff_3": "begun", "eff_4": "nothing", "eff_5": "nothing",
		} {
			if got := describe(m, id); got != want {
				t.Errorf("of %s is known %s, want %s", id, got, want)
			}
		}
		if err := m.begin("eff_6", "h6"); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
}

// TestMemoryDamaged has a file refused of which a line in the middle is no line.
func TestMemoryDamaged(t *testing.T) {
	name := filepath.Join(t.TempDir(), "effects")
	if err := os.WriteFile(name, []byte("{\"begin\":\"eff_1\"}\nnonsense\n{\"begin\":\"eff_2\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMemory(name); err == nil || !strings.Contains(err.Error(), "the line at byte 18 is damaged") {
		t.Errorf("opening it: %v", err)
	}
}

// TestMemoryBounds has old results forgotten, and that the effects were begun
// remembered, while the file stays small.
func TestMemoryBounds(t *testing.T) {
	name := filepath.Join(t.TempDir(), "effects")
	m := openMemory(t, name)
	big := strings.Repeat("x", 1<<20)
	const n = 80
	for i := range n {
		id := fmt.Sprintf("eff_%d", i)
		if err := m.begin(id, "h"); err != nil {
			t.Fatal(err)
		}
		if err := m.end(id, &result{Failed: true, Error: big}); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for i := range n {
			got := describe(m, fmt.Sprintf("eff_%d", i))
			if want := i >= n-31; want != (len(got) > 1<<20) || !want && got != "begun" {
				t.Fatalf("of effect %d is known %.40s", i, got)
			}
		}
	}
	check()
	if info, err := os.Stat(name); err != nil || info.Size() > 65<<20 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	m.Close()
	m = openMemory(t, name)
	check()
}
