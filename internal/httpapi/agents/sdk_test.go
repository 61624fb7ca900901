package agents_test

import (
	"context"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// TestSDKAgents makes, reads, lists, changes and deletes agents by the official
// client.
func TestSDKAgents(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.sdk.Beta.Agents.New(ctx, openai.BetaAgentNewParams{
		Model: "test/m", Name: openai.String("clerk"), Instructions: openai.String("Be brief."), Metadata: map[string]string{"team": "a"},
		Tools: []openai.PersistedAgentToolParamUnion{{OfParamFunction: &openai.PersistedAgentToolParamFunction{
			Name: "add", Description: "Adds.", Parameters: map[string]any{"type": "object"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.Name != "clerk" || made.Model != "test/m" || made.Text.Verbosity != "medium" || made.Metadata["team"] != "a" || made.Tools[0].Name != "add" {
		t.Errorf("made %s", made.RawJSON())
	}
	for range 4 {
		if _, err := w.sdk.Beta.Agents.New(ctx, openai.BetaAgentNewParams{Model: "test/m"}); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	pages := w.sdk.Beta.Agents.ListAutoPaging(ctx, openai.BetaAgentListParams{Limit: openai.Int(2), Order: "asc"})
	for pages.Next() {
		ids = append(ids, pages.Current().ID)
	}
	if pages.Err() != nil || len(ids) != 5 {
		t.Errorf("listed %v, %v", ids, pages.Err())
	}
	changed, err := w.sdk.Beta.Agents.Update(ctx, made.ID, openai.BetaAgentUpdateParams{Instructions: openai.String("Be long.")})
	if err != nil {
		t.Fatal(err)
	}
	if changed.Instructions != "Be long." || changed.Name != "clerk" || len(changed.Tools) != 1 {
		t.Errorf("changed %s", changed.RawJSON())
	}
	deleted, err := w.sdk.Beta.Agents.Delete(ctx, made.ID)
	if err != nil || !deleted.Deleted {
		t.Fatalf("deleted %v, %v", deleted, err)
	}
	if _, err := w.sdk.Beta.Agents.Get(ctx, made.ID); err == nil {
		t.Error("a deleted agent is still there")
	}
}

func noEnvironment() openai.EnvironmentParamUnion {
	return openai.EnvironmentParamUnion{OfParamNone: &openai.EnvironmentParamNone{Type: "none"}}
}

// TestSDKFinalResult collects the answer of a session from its creation stream.
func TestSDKFinalResult(t *testing.T) {
	w := newWorld(t)
	stream := w.sdk.Beta.Agents.Sessions.NewStreaming(t.Context(), openai.BetaAgentSessionNewParams{
		Environment: noEnvironment(),
		Agent:       openai.BetaAgentSessionNewParamsAgent{Model: openai.String("test/m")},
		Input:       openai.BetaAgentSessionNewParamsInputUnion{OfString: openai.String("Hi")},
	})
	openai.BetaAgentSessionWithResultCollection(stream)
	if !stream.Next() || stream.Current().Type != "agent.session.created" {
		t.Fatalf("first event %s, %v", stream.Current().Type, stream.Err())
	}
	id := stream.Current().Session.ID
	turn := w.turn(id)
	w.append(id,
		&event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{message("item_1", "Hello.")}, Usage: event.Usage{InputTokens: 3, OutputTokens: 2}},
		&event.TurnEnded{TurnID: turn, Status: session.TurnCompleted})
	result, err := openai.BetaAgentSessionFinalResult(stream)
	if err != nil {
		t.Fatal(err)
	}
	if result.OutputText() != "Hello." || result.Turn.Usage.TotalTokens != 5 || result.TurnID() != turn {
		t.Errorf("result %q of %s", result.OutputText(), result.Turn.RawJSON())
	}
}

// TestSDKToolHandlers follows a turn by the client's stream, whose handler
// answers the call.
func TestSDKToolHandlers(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	w.append(id, &event.TurnEnded{TurnID: w.turn(id), Status: session.TurnCompleted})
	stream := w.sdk.Beta.Agents.Sessions.Stream(t.Context(), id, openai.AgentSessionStreamParams{
		Input: "Add.",
		ToolHandlers: map[string]openai.AgentToolHandler{"add": func(context.Context, map[string]any) (any, error) {
			return "2", nil
		}},
	})
	turn := w.turn(id)
	w.append(id, &event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{call(event.ItemFunctionCall, "item_1", "add", "")}})
	sub := w.feed.Subscribe(id)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer sub.Close()
		for {
			messages, _ := sub.Take()
			for _, m := range messages {
				if m.Record != nil && m.Record.Kind == event.KindToolResult {
					w.append(id,
						&event.ModelResponded{EffectID: "eff_2", TurnID: turn, Model: "test/m", Items: []event.Item{message("item_2", "It is 2.")}},
						&event.TurnEnded{TurnID: turn, Status: session.TurnCompleted})
					return
				}
			}
			select {
			case <-sub.Ready():
			case <-t.Context().Done():
				return
			}
		}
	}()
	result, err := stream.FinalResult()
	if err != nil {
		t.Fatal(err)
	}
	<-done
	if result.OutputText() != "It is 2." {
		t.Errorf("result %q", result.OutputText())
	}
	items, err := w.sdk.Beta.Agents.Sessions.Turns.Items.List(t.Context(), id, turn, openai.BetaAgentSessionTurnItemListParams{Order: "asc"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, it := range items.Data {
		kinds = append(kinds, it.Type+" "+it.Status)
	}
	want := []string{"message completed", "function_call completed", "function_call_output completed", "message completed"}
	if len(kinds) != 4 || kinds[0] != want[0] || kinds[1] != want[1] || kinds[2] != want[2] || kinds[3] != want[3] {
		t.Errorf("items %v, want %v", kinds, want)
	}
}
