package bubblewrap_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/tool"
)

// Whenever a call ends, or the environment is closed, nothing waits for what does
// not come, and nothing is left.
func TestCancelledStarts(t *testing.T) {
	each(t, bubblewrap.Config{}, func(t *testing.T, d *bubblewrap.Driver) {
		for round := range 12 {
			s := environmenttest.New(t, d)
			var calls sync.WaitGroup
			for i := range 8 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2+3*i+round)*time.Millisecond)
				calls.Go(func() {
					defer cancel()
					s.Server.Call(ctx, tool.Call{EffectID: "eff_1", Name: "run_command", Arguments: json.RawMessage(`{"command":"sleep 98765"}`)}) // that it returns is what matters
				})
			}
			if round%2 == 0 {
				calls.Wait()
			}
			if err := s.Server.Close(); err != nil {
				t.Error(err)
			}
			calls.Wait()
			if left := processes(t, "98765"); left != "" {
				t.Fatalf("left: %s", left)
			}
		}
	})
}
