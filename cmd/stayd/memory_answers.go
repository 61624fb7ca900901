package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory/locomo"
	"github.com/stayd/stayd/internal/model"
)

// answering are the models that answer and judge in memory bench locomo.
type answering struct {
	answer, judge string
	config        app.Config
}

func (a *answering) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&a.answer, "answers", "", "have this model answer each question from what was found, and have the answers judged")
	fs.StringVar(&a.judge, "judge", "", "model that judges; default: the one that answers")
	var needed []setting
	for _, s := range runtimeSettings {
		if s.name == "models" || s.name == "scripts" || s.name == "memory-reranker" || strings.HasSuffix(s.name, "-outbound") || strings.HasPrefix(s.name, "outbound-") {
			needed = append(needed, s)
		}
	}
	addSettings(fs, needed)
}

// models finds the models by their names.
func (a *answering) models() (answer, judge locomo.Model, err error) {
	catalog, err := app.OpenModels(&a.config)
	if err != nil {
		return nil, nil, err
	}
	if a.judge == "" {
		a.judge = a.answer
	}
	if answer, err = replying(catalog, a.answer); err != nil {
		return nil, nil, err
	}
	judge, err = replying(catalog, a.judge)
	return answer, judge, err
}

// replyAttempts is how often a model is asked that may answer later.
const replyAttempts = 6

// replying is the model with the name, as it replies to prompts. Its fallbacks are
// not asked: what they would say is not what is measured.
func replying(catalog model.Catalog, name string) (locomo.Model, error) {
	candidates, err := catalog.Resolve(name)
	if err != nil {
		return nil, usage("%w", err)
	}
	c := candidates[0]
	return func(ctx context.Context, p locomo.Prompt) (string, error) {
		request := model.Request{Model: c.ID, Instructions: p.System, Items: []*event.Item{{
			Type: event.ItemMessage, ID: "question", Role: event.RoleUser, Status: event.StatusCompleted,
			Content: []event.Content{{Type: event.PartInputText, Text: p.User}},
		}}}
		return backoff.Retry(ctx, func() (string, error) {
			resp, err := c.Model.Generate(ctx, &request, nil)
			var failed *model.Error
			switch {
			case errors.As(err, &failed) && failed.Retry && failed.RetryAfter > 0:
				return "", backoff.RetryAfter(int(failed.RetryAfter/time.Second) + 1)
			case errors.As(err, &failed) && failed.Retry:
				return "", err
			case err != nil:
				return "", backoff.Permanent(err)
			}
			var text strings.Builder
			for i := range resp.Items {
				if resp.Items[i].Type == event.ItemMessage {
					text.WriteString(resp.Items[i].Text())
				}
			}
			return text.String(), nil
		}, backoff.WithMaxTries(replyAttempts))
	}, nil
}
