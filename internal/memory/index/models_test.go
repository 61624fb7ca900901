package index_test

import (
	"slices"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/index"
)

func TestModels(t *testing.T) {
	s := index.New()
	change := int64(0)
	write := func(num int64, model string) {
		t.Helper()
		change++
		r := memory.Record{Num: num, Change: change, ID: "mem", Namespace: "/a/b", Space: "/a/b", Text: "a text", VectorModel: model}
		if model != "" {
			r.Vector = embed.Encode([]float32{1, float32(num)})
		}
		if err := s.Apply([]memory.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		num   int64
		model string
		want  []string
	}{
		{1, "", nil},
		{2, "old@2", []string{"old@2"}},
		{3, "old@2", []string{"old@2"}},
		{1, "new@2", []string{"new@2", "old@2"}},
		{2, "new@2", []string{"new@2", "old@2"}},
		{3, "new@2", []string{"new@2"}},
	} {
		write(step.num, step.model)
		if got := s.Models(); !slices.Equal(got, step.want) {
			t.Errorf("after record %d got a vector of %q there are %q, want %q", step.num, step.model, got, step.want)
		}
	}
}
