package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

// TestPersonDecides plays what a person types, and checks what the runtime is
// told.
func TestPersonDecides(t *testing.T) {
	approval := show.Action{Type: show.ActionApproval, EffectID: "eff_1", Name: "send", ServerLabel: "mail", Arguments: []byte(`{"to":"ann"}`)}
	outcome := show.Action{Type: show.ActionOutcome, EffectID: "eff_2", Name: "send", Reason: "it was interrupted"}
	function := show.Action{Type: show.ActionFunction, TurnID: "turn_1", CallID: "call_1", Name: "who"}
	for _, tc := range []struct {
		name   string
		action show.Action
		typed  string
		want   string
		shown  string
	}{
		{"approve", approval, "approve\n", `/effects/eff_1/resolve {"decision":"approve"}`, `{"to":"ann"}`},
		{"a letter is enough", approval, "a\n", `/effects/eff_1/resolve {"decision":"approve"}`, "mail.send needs your approval"},
		{"deny with a reason", approval, "maybe\ndeny\ntoo late\n", `/effects/eff_1/resolve {"decision":"deny","reason":"too late"}`, ""},
		{"it took place", outcome, "completed\nsent it\n", `/effects/eff_2/resolve {"decision":"completed","output":"sent it"}`, "it was interrupted"},
		{"it did not", outcome, "failed\n", `/effects/eff_2/resolve {"decision":"failed"}`, ""},
		{"once more", outcome, "retry\n", `/effects/eff_2/resolve {"decision":"retry"}`, ""},
		{"a function", function, "Ann\n", `/events {"events":[{"call_id":"call_1","success":true,"turn_id":"turn_1","output":"Ann","type":"agent.session.input.tool_result"}]}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var told []string
			f, out := fakeFollower(tc.typed, &told)
			if err := f.answer(t.Context(), []show.Action{tc.action}); err != nil {
				t.Fatal(err)
			}
			// A stream that is read again brings the same action again.
			if err := f.answer(t.Context(), []show.Action{tc.action}); err != nil {
				t.Fatal(err)
			}
			if len(told) != 1 || told[0] != "/v1/agents/sessions/sess_1"+tc.want {
				t.Errorf("told\n%q, want\n%q", told, tc.want)
			}
			if !strings.Contains(out.String(), tc.shown) {
				t.Errorf("shown\n%s\nwithout %q", out, tc.shown)
			}
		})
	}
}

// TestPersonLeaves checks that who goes without an answer is told how to give it.
func TestPersonLeaves(t *testing.T) {
	var told []string
	f, _ := fakeFollower("", &told)
	err := f.answer(t.Context(), []show.Action{{Type: show.ActionApproval, EffectID: "eff_1", Name: "send"}})
	var c *coded
	if !errors.As(err, &c) || c.code != exitPerson || !strings.Contains(err.Error(), "stayd sessions resolve sess_1 eff_1 approve") {
		t.Errorf("error %v, want one with code %d that says how to answer", err, exitPerson)
	}
	if len(told) > 0 {
		t.Errorf("the runtime was told %q", told)
	}
}

// TestAnsweredElsewhere checks that what is not answered at the terminal says where
// it is, and leaves the command to wait.
func TestAnsweredElsewhere(t *testing.T) {
	consent := show.Action{Type: show.ActionConsent, EffectID: "eff_1", ServerLabel: "mail", ServerURL: "https://mail.example.com/mcp", Actor: "ann", URL: "https://stayd.example.com/oauth/consent/x"}
	connection := show.Action{Type: show.ActionConnection, EnvironmentID: "env_1"}
	var told []string
	f, out := fakeFollower("", &told)
	if err := f.answer(t.Context(), []show.Action{consent, connection}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mail (https://mail.example.com/mcp) wants to know that ann lets the agent use it", consent.URL, "environment env_1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("shown\n%s\nwithout %q", out, want)
		}
	}
	f.person = nil
	f.already = map[string]bool{}
	for action, want := range map[*show.Action]string{&consent: "is used when ann has consented; the page for it is " + consent.URL, &connection: "`stayd exec`"} {
		err := f.answer(t.Context(), []show.Action{*action})
		var c *coded
		if !errors.As(err, &c) || c.code != exitPerson || !strings.Contains(err.Error(), want) {
			t.Errorf("with nobody there: %v, want code %d and %q", err, exitPerson, want)
		}
	}
	if len(told) > 0 {
		t.Errorf("the runtime was told %q", told)
	}
}

// fakeFollower follows a session of a runtime that only notes what it is told.
func fakeFollower(typed string, told *[]string) (*follower, *bytes.Buffer) {
	c := client.Embed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		*told = append(*told, r.URL.Path+" "+string(b))
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{}"))
	}), "")
	var out bytes.Buffer
	o := output{out: &out, width: 80, person: newPerson(strings.NewReader(typed), &out)}
	return newFollower(&runtime{Client: c}, "sess_1", client.FromStart, o), &out
}
