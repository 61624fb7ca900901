package main

import (
	"context"
	"errors"
	"os"
)

// defaultModel is the model where none was named: STAYD_MODEL, or the first real
// one that is ready.
func defaultModel(ctx context.Context, rt *runtime) (string, error) {
	if name := os.Getenv("STAYD_MODEL"); name != "" {
		return name, nil
	}
	if rt.app != nil {
		if name, ok := rt.app.Models().FirstAvailable(ctx); ok {
			return name, nil
		}
		return "", errors.New("no model is ready: set OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama, or name one with --model (script/NAME plays a script); `stayd doctor` says more")
	}
	return "", errors.New("name a model with --model or STAYD_MODEL; which ones the server has is the server's to say")
}
