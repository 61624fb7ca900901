package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory/embed/embedtest"
)

// talk is a conversation of two sessions in the layout of LoCoMo.
const talk = `[{
  "sample_id": "t1",
  "conversation": {
    "speaker_a": "Nora", "speaker_b": "Piet",
    "session_1_date_time": "1:56 pm on 8 May, 2023",
    "session_1": [
      {"speaker": "Nora", "dia_id": "D1:1", "text": "Hello Piet, how is the garden?"},
      {"speaker": "Piet", "dia_id": "D1:2", "text": "The tomatoes died in the frost."},
      {"speaker": "Nora", "dia_id": "D1:3", "text": "What a pity."}
    ],
    "session_2_date_time": "9:00 am on 1 June, 2023",
    "session_2": [
      {"speaker": "Piet", "dia_id": "D2:1", "text": "I bought a bicycle."},
      {"speaker": "Nora", "dia_id": "D2:2", "text": "A red one?", "blip_caption": "a photo of a shop"}
    ]
  },
  "qa": [
    {"question": "What happened to Piet's tomatoes?", "answer": "frost", "category": 4, "evidence": ["D1:2"]},
    {"question": "Which vehicle did Piet buy?", "answer": "a bicycle", "category": 4, "evidence": ["D2:1"]},
    {"question": "What did Nora win?", "category": 5, "evidence": ["D1:1"]}
  ]
}]`

func locomoFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "talk.json")
	if err := os.WriteFile(name, []byte(talk), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := memoryBenchCommand()
	cmd.SetOut(&out)
	cmd.SetArgs(argv)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestMemoryBenchLocomo(t *testing.T) {
	t.Parallel()
	var got struct {
		Questions     int                `json:"questions"`
		RecallAt      map[string]float64 `json:"recall_at"`
		ContextTokens float64            `json:"context_tokens"`
		ByCategory    map[string]struct {
			Questions int                `json:"questions"`
			RecallAt  map[string]float64 `json:"recall_at"`
		} `json:"by_category"`
		Notes struct {
			Adversarial int `json:"adversarial"`
		} `json:"notes"`
	}
	if err := json.Unmarshal([]byte(command(t, "locomo", "--json", locomoFile(t))), &got); err != nil {
		t.Fatal(err)
	}
	if got.Questions != 2 || got.Notes.Adversarial != 1 || got.ByCategory["single-hop"].Questions != 2 {
		t.Errorf("the questions are counted as %+v", got)
	}
	for _, depth := range []string{"5", "10", "20"} {
		if got.RecallAt[depth] != 1 {
			t.Errorf("at %s, %v of the evidence is found", depth, got.RecallAt[depth])
		}
	}
	if got.ContextTokens < 20 || got.ContextTokens > 100 {
		t.Errorf("five short turns are %v tokens", got.ContextTokens)
	}
	if out := command(t, "locomo", locomoFile(t)); !strings.Contains(out, "1.000  1.000  1.000\n") {
		t.Errorf("the table is\n%s", out)
	}
}

func TestMemoryBenchLocomoRefuses(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"a": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/nowhere/talk.json": "the conversations cannot be read",
		bad:                  "not a file of LoCoMo",
	} {
		cmd := memoryBenchCommand()
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs([]string{"locomo", name})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A reranker that finds nothing but greetings relevant finds no evidence first, and
// one that does not answer ends the bench.
func TestMemoryBenchReranks(t *testing.T) {
	t.Parallel()
	s := embedtest.NewServer(t, func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Documents []string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		greeting := slices.IndexFunc(asked.Documents, func(text string) bool { return strings.Contains(text, "Hello") })
		embedtest.Write(w, map[string]any{"results": []map[string]any{{"index": greeting, "relevance_score": 1}}})
	})
	models := filepath.Join(t.TempDir(), "models.yaml")
	text := "providers: {ranks: {type: openai_chat, base_url: " + s.URL + "}}\nmodels: {ranks/greetings: {id: greetings}, ranks/none: {id: none}}\n"
	if err := os.WriteFile(models, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var got struct {
		RecallAt map[string]float64 `json:"recall_at"`
		Reranker string
	}
	argv := []string{"locomo", locomoFile(t), "--models", models, "--memory-reranker"}
	if err := json.Unmarshal([]byte(command(t, append(argv, "ranks/greetings", "--json")...)), &got); err != nil {
		t.Fatal(err)
	}
	if got.RecallAt["1"] != 0 || got.RecallAt["5"] != 1 || got.Reranker != "ranks/greetings" {
		t.Errorf("measured %+v", got)
	}
	if out := command(t, append(argv, "ranks/greetings")...); !strings.HasSuffix(out, "reranked by ranks/greetings\n") {
		t.Errorf("the report is\n%s", out)
	}
	cmd := memoryBenchCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(append(argv, "ranks/greetings?top=2")) // the greeting is none of the best two
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "index -1") {
		t.Errorf("a reranker that does not answer: %v", err)
	}
}

// A model that knows one of the answers is graded.
func TestMemoryBenchAnswers(t *testing.T) {
	t.Parallel()
	scripts := t.TempDir()
	exam := `
steps:
  - when: {instructions: You grade a short answer, user: "Answer to grade: the frost"}
    reply: CORRECT
  - when: {instructions: You grade a short answer}
    reply: WRONG
  - when: {user: {contains: ["Excerpts:", tomatoes died in the frost, "Question: What happened to Piet's tomatoes?"]}}
    reply: the frost
  - when: {always: true}
    reply: unknown
`
	if err := os.WriteFile(filepath.Join(scripts, "exam.yaml"), []byte(exam), 0o600); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Answers struct {
			Questions, Correct int
			AnswerPrompt       string `json:"answer_prompt"`
			JudgePrompt        string `json:"judge_prompt"`
		}
	}
	argv := []string{"locomo", locomoFile(t), "--answers", "script/exam", "--scripts", scripts}
	if err := json.Unmarshal([]byte(command(t, append(argv, "--json")...)), &got); err != nil {
		t.Fatal(err)
	}
	if a := got.Answers; a.Questions != 2 || a.Correct != 1 || a.AnswerPrompt != "locomo-answer-1" || a.JudgePrompt != "locomo-judge-1" {
		t.Errorf("answers: %+v", a)
	}
	if text := command(t, argv...); !strings.Contains(text, "answers: 1 of 2 correct (0.500)") || !strings.Contains(text, "prompts locomo-answer-1, locomo-judge-1") {
		t.Errorf("printed:\n%s", text)
	}
}
