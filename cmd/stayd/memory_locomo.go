package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/locomo"
)

// locomoFlags are the flags of memory bench locomo.
type locomoFlags struct {
	dir  string
	json bool
	answering
}

func newMemoryLocomo() *cobra.Command {
	var f locomoFlags
	cmd := &cobra.Command{
		Use:   "locomo FILE",
		Short: "Measure how much of what a question needs is found, on conversations in the layout of LoCoMo",
		Long: `Measure how much of what a question needs is found, on conversations in the
layout of LoCoMo (Maharana et al., ACL 2024). The file is yours: the data may be
used for measuring only, and does not come with Stayd.

Each conversation is written as one actor's memory into a store of its own, word
for word, and every question is searched there as the API searches, the day after
the last session, with the vectors that come with Stayd and with no model. Recall
is the share of a question's evidence among the first 1, 5, 10 and 20 turns, as a
mean over the questions; adversarial ones, and those without evidence, are left
out. The size of the context is that of 20 turns as a model would get them.

With --answers a model answers each question from these 20 turns, in a few words,
and is graded by a judge. Results compare under the same versions of the prompts,
which are printed. With --memory-reranker the best of what was found are reranked, as a
server with that setting does, but for its timeout; without an answer the bench ends.
A provider of the models file with "record" writes the replies
down; as script/NAME they are played again, and give the same result.`,
		Example: `  stayd memory bench locomo locomo10.json
  stayd memory bench locomo locomo10.json --answers openai/gpt-5.4-mini --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			if f.config, err = loadConfig(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			return f.run(cmd.Context(), argv[0], cmd.OutOrStdout())
		},
	}
	f.register(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.dir, "dir", "", "folder for the store; a temporary one without it")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

// locomoResult is what memory bench locomo measured.
type locomoResult struct {
	locomo.Result
	Notes    locomo.Notes    `json:"notes"`
	Model    string          `json:"vectors"`
	Reranker string          `json:"reranker,omitempty"`
	Answers  *locomo.Answers `json:"answers,omitempty"`
}

func (f *locomoFlags) run(ctx context.Context, name string, out io.Writer) (err error) {
	conversations, notes, err := readLocomo(name)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(f.dir, "stayd-bench-*")
	if err != nil {
		return fmt.Errorf("make the folder of the bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	done := newProgress(os.Stderr).during("searching " + strconv.Itoa(notes.Counted) + " questions")
	result, err := f.measure(ctx, dir, conversations)
	done()
	if err != nil {
		return err
	}
	result.Notes = notes
	if f.json {
		return json.NewEncoder(out).Encode(result)
	}
	return printLocomo(out, result)
}

func readLocomo(name string) ([]locomo.Conversation, locomo.Notes, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, locomo.Notes{}, usage("the conversations cannot be read: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	conversations, notes, err := locomo.Read(file)
	if err != nil {
		return nil, notes, usage("%s: %w", name, err)
	}
	return conversations, notes, nil
}

// measure writes the conversations into a store in dir and asks it their
// questions.
func (f *locomoFlags) measure(ctx context.Context, dir string, conversations []locomo.Conversation) (result *locomoResult, err error) {
	var answer, judge locomo.Model
	if f.answer != "" {
		if answer, judge, err = f.models(); err != nil {
			return nil, err
		}
	}
	st, err := openBench(ctx, "", dir, "locomo")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	words, err := static.New()
	if err != nil {
		return nil, fmt.Errorf("open the embedded vectors: %w", err)
	}
	reranking, err := f.reranking()
	if err != nil {
		return nil, err
	}
	var now time.Time
	k := keeper.New(keeper.Config{
		Store: st, Embedder: words, Local: true, Reranking: reranking, Now: func() time.Time { return now },
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	asked := map[string]time.Time{} // by conversation
	for i := range conversations {
		c := &conversations[i]
		now = c.Turns[len(c.Turns)-1].At.AddDate(0, 0, 1)
		asked[c.ID] = now
		if _, _, err := k.Write(ctx, locomoProject, locomoRecords(c)); err != nil {
			return nil, fmt.Errorf("write %s: %w", c.ID, err)
		}
	}
	search := func(ctx context.Context, c *locomo.Conversation, question string, limit int) (keeper.Found, error) {
		now = asked[c.ID]
		found, err := k.Search(ctx, memory.Query{
			Project: locomoProject, Namespaces: []string{locomoSpace(c)}, Text: question, Limit: limit,
		})
		if err == nil {
			err = found.NotReranked
		}
		return found, err
	}
	measured, err := locomo.Evaluate(ctx, conversations, func(ctx context.Context, c *locomo.Conversation, question string, limit int) (locomo.Found, error) {
		found, err := search(ctx, c, question, limit)
		if err != nil {
			return locomo.Found{}, err
		}
		ids := make([]string, len(found.Hits))
		for i := range found.Hits {
			ids[i] = found.Hits[i].Source.External
		}
		return locomo.Found{IDs: ids, ContextTokens: found.Tokens}, nil
	})
	if err != nil {
		return nil, err
	}
	result = &locomoResult{Result: measured, Model: words.Model(), Reranker: f.config.Reranker}
	if answer == nil {
		return result, nil
	}
	answers, err := locomo.Answer(ctx, conversations, func(ctx context.Context, c *locomo.Conversation, question string) (string, error) {
		found, err := search(ctx, c, question, slices.Max(locomo.Depths()))
		return found.Context, err
	}, answer, judge)
	result.Answers = &answers
	return result, err
}

// rerankPatience is how long the bench waits for a reranker: what is measured is how
// well it ranks.
const rerankPatience = time.Minute

// reranking opens the reranker of the settings; nil where there is none.
func (f *locomoFlags) reranking() (*keeper.Reranking, error) {
	if f.config.Reranker == "" {
		return nil, nil
	}
	models, err := app.OpenModels(&f.config)
	if err != nil {
		return nil, err
	}
	r, err := app.OpenReranking(&f.config, models)
	if err != nil {
		return nil, usage("%w", err)
	}
	r.Within = rerankPatience
	return r, nil
}

const locomoProject = "locomo"

// locomoSpace is where the turns of a conversation are: it is one actor's.
func locomoSpace(c *locomo.Conversation) string { return "/actors/" + memory.Escape(c.ID) }

// locomoRecords are the turns of a conversation as a client would write them.
func locomoRecords(c *locomo.Conversation) []memory.Record {
	records := make([]memory.Record, 0, len(c.Turns))
	position := map[int]int64{} // by session
	for _, t := range c.Turns {
		if t.Text == "" {
			continue
		}
		position[t.Session]++
		records = append(records, memory.Record{
			Namespace: locomoSpace(c) + "/turns", Strategy: memory.Turn, Actor: c.ID, Text: t.Text,
			ValidFrom: t.At,
			Source: memory.Source{
				SessionID: "session_" + strconv.Itoa(t.Session), Position: position[t.Session],
				Speaker: t.Speaker, External: t.ID,
			},
		})
	}
	return records
}

func printLocomo(out io.Writer, r *locomoResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var errs []error
	row := func(name string, recall locomo.Recall) {
		_, err := fmt.Fprintf(w, "%s\t%d", name, recall.Questions)
		errs = append(errs, err)
		for _, k := range locomo.Depths() {
			_, err := fmt.Fprintf(w, "\t%.3f", recall.At[strconv.Itoa(k)])
			errs = append(errs, err)
		}
		_, err = fmt.Fprintln(w)
		errs = append(errs, err)
	}
	_, err := fmt.Fprintln(w, "recall\tquestions\tat 1\tat 5\tat 10\tat 20")
	errs = append(errs, err)
	for _, c := range locomo.Categories() {
		if recall, ok := r.ByCategory[c.String()]; ok {
			row(c.String(), recall)
		}
	}
	row("all", r.Recall)
	errs = append(errs, w.Flush())
	_, err = fmt.Fprintf(out, "\n%d conversations; %.0f tokens of context, about, at 20 turns; vectors %s\nleft out: %d adversarial questions, %d without evidence\n",
		r.Conversations, r.ContextTokens, r.Model, r.Notes.Adversarial, r.Notes.WithoutEvidence)
	errs = append(errs, err)
	if r.Reranker != "" {
		_, err = fmt.Fprintf(out, "reranked by %s\n", r.Reranker)
		errs = append(errs, err)
	}
	if a := r.Answers; a != nil {
		_, err = fmt.Fprintf(out, "\nanswers: %d of %d correct (%.3f), F1 %.3f, %d not graded; prompts %s, %s\n",
			a.Correct, a.Questions, a.Share, a.F1, a.Ungraded, a.AnswerPrompt, a.JudgePrompt)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
