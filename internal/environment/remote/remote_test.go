package remote_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// TestListing has what changes something offered as idempotent, as the machine
// tells repeated calls by their effect.
func TestListing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := machine(t, newDesk(), filepath.Join(t.TempDir(), "effects"))
		b.serve(t.Context(), m)
		tools, err := b.hub.Server(project, sess).List(t.Context())
		if err != nil || len(tools) != 2 || tools[0].Class != event.Idempotent || tools[1].Class != event.Pure {
			t.Errorf("the listing is %+v, %v", tools, err)
		}
		if got := b.status(); got != session.PlaceConnected {
			t.Errorf("the environment is %s, want connected", got)
		}
		err = b.journal.View(t.Context(), project, sess, func(s *session.State) error {
			if len(s.Place.Tools) != 2 || s.Place.Epoch == 0 {
				t.Errorf("the log has %d tools and epoch %d", len(s.Place.Tools), s.Place.Epoch)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestDead has a machine that is not heard of any more noticed within 30 seconds,
// at both ends, and its call given up.
func TestDead(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		d := newDesk()
		s := b.serve(t.Context(), machine(t, d, filepath.Join(t.TempDir(), "effects")))
		done := b.call(t.Context(), "eff_1", "work", `{}`)
		<-d.began
		time.Sleep(time.Hour)
		if got := b.status(); got != session.PlaceConnected {
			t.Fatalf("after an hour of quiet the environment is %s", got)
		}
		s.dead.Store(true)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := b.status(); got != session.PlaceDisconnected {
			t.Errorf("after 30 seconds the environment is %s, want disconnected", got)
		}
		select {
		case out := <-done:
			if got := sent(out.err); got != "sent" {
				t.Errorf("the call was %s: %v", got, out.err)
			}
		default:
			t.Error("the call still waits")
		}
		select {
		case err := <-s.ended:
			if err == nil || !strings.Contains(err.Error(), "does not answer any more") {
				t.Errorf("the machine's end: %v", err)
			}
		default:
			t.Error("the machine has not noticed")
		}
	})
}

// TestReplaced has a second machine refused while the first answers, and take its
// place where it does not.
func TestReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		first := machine(t, newDesk(), filepath.Join(t.TempDir(), "effects"))
		s := b.serve(t.Context(), first)
		if _, _, status, answer := b.connect(env, token); status != http.StatusConflict || !strings.Contains(answer, "Another machine is connected to this environment: laptop (") {
			t.Errorf("a second machine: %d %s", status, answer)
		}
		s.dead.Store(true)
		d := newDesk()
		start := time.Now()
		b.serve(t.Context(), machine(t, d, filepath.Join(t.TempDir(), "effects")))
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("to take the place of a dead machine took %v", took)
		}
		done := b.call(t.Context(), "eff_1", "work", `{}`)
		<-d.began
		d.results <- tool.Text("by the second")
		if out := <-done; out.err != nil || event.OutputText(out.res.Output) != "by the second" {
			t.Errorf("the call: %+v", out)
		}
		if got := b.status(); got != session.PlaceConnected {
			t.Errorf("the environment is %s, want connected", got)
		}
	})
}

// TestAttach has a call that comes again after a lost connection get the result
// of the first, which is still being made; one that comes again later, too; and
// one that comes after a restart of the machine's end.
func TestAttach(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		d := newDesk()
		memory := filepath.Join(t.TempDir(), "effects")
		m := machine(t, d, memory)
		s := b.serve(t.Context(), m)
		done := b.call(t.Context(), "eff_1", "work", `{"n":1}`)
		<-d.began
		s.Close()
		if out := <-done; sent(out.err) != "sent" {
			t.Errorf("the call whose connection was lost: %+v", out)
		}
		synctest.Wait()
		if got := sent((<-b.call(t.Context(), "eff_2", "work", `{}`)).err); got != "not sent" {
			t.Errorf("a call without a machine was %s", got)
		}
		b.serve(t.Context(), m)
		again := b.call(t.Context(), "eff_1", "work", `{"n":1}`)
		synctest.Wait()
		code := 7
		d.results <- tool.Result{Output: event.TextOutput("done"), ExitCode: &code}
		if out := <-again; out.err != nil || event.OutputText(out.res.Output) != "done" || *out.res.ExitCode != 7 {
			t.Errorf("the call that came again: %+v", out)
		}
		if out := <-b.call(t.Context(), "eff_1", "work", `{"n":1}`); out.err != nil || event.OutputText(out.res.Output) != "done" || *out.res.ExitCode != 7 {
			t.Errorf("the call that came a third time: %+v", out)
		}
		if out := <-b.call(t.Context(), "eff_1", "work", `{"n":2}`); !out.res.Failed || !strings.Contains(out.res.Error, "was begun with another call") {
			t.Errorf("another call of the effect: %+v", out)
		}
		if n := d.times("eff_1"); n != 1 {
			t.Errorf("the effect took place %d times", n)
		}
	})
}

// TestRestartedMachine has the results of an earlier life of the machine's end
// known, and what had none unknown.
func TestRestartedMachine(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, func(t *testing.T, b *bubble) {
		d := newDesk()
		ctx, stop := context.WithCancel(t.Context())
		first := machine(t, d, filepath.Join(dir, "1"))
		s := b.serve(ctx, first)
		done := b.call(t.Context(), "eff_1", "work", `{}`)
		<-d.began
		d.results <- tool.Text("known")
		<-done
		half := b.call(t.Context(), "eff_2", "work", `{}`)
		<-d.began
		copied(t, filepath.Join(dir, "1"), filepath.Join(dir, "2")) // as it would be after a kill
		stop()
		if err := <-s.ended; err != nil {
			t.Errorf("the machine was stopped: %v", err)
		}
		if out := <-half; !out.res.Failed || !strings.Contains(out.res.Error, "stopped half-way") {
			t.Errorf("the call that was stopped: %+v", out)
		}
		b.serve(t.Context(), machine(t, d, filepath.Join(dir, "2")))
		if out := <-b.call(t.Context(), "eff_1", "work", `{}`); out.err != nil || event.OutputText(out.res.Output) != "known" {
			t.Errorf("the effect of the first life: %+v", out)
		}
		out := <-b.call(t.Context(), "eff_2", "work", `{}`)
		if sent(out.err) != "sent" || !strings.Contains(out.err.Error(), "not known") {
			t.Errorf("the effect whose result nobody noted: %+v", out)
		}
		if d.times("eff_1") != 1 || d.times("eff_2") != 1 {
			t.Errorf("the effects took place %d and %d times", d.times("eff_1"), d.times("eff_2"))
		}
	})
}

// TestCancel has a call ended that nobody wants any more, and one go on whose
// runtime is stopping.
func TestCancel(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		d := newDesk()
		b.serve(t.Context(), machine(t, d, filepath.Join(t.TempDir(), "effects")))
		for _, name := range []string{"work", "look"} {
			ctx, cancel := context.WithCancelCause(t.Context())
			done := b.call(ctx, "eff_"+name, name, `{}`)
			<-d.began
			cancel(errors.New("the turn was cancelled"))
			if out := <-done; sent(out.err) != "sent" || !strings.Contains(out.err.Error(), "it was stopped: it was cancelled") {
				t.Errorf("%s: %+v, want what the machine says", name, out)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		done := b.call(ctx, "eff_on", "work", `{}`)
		<-d.began
		cancel(errStopping)
		if out := <-done; sent(out.err) != "sent" {
			t.Errorf("the call of a runtime that stops: %+v", out)
		}
		again := b.call(t.Context(), "eff_on", "work", `{}`)
		synctest.Wait()
		d.results <- tool.Text("went on")
		if out := <-again; out.err != nil || event.OutputText(out.res.Output) != "went on" {
			t.Errorf("the call of the next runtime: %+v", out)
		}
	})
}

// TestStale has the log put right that says connected, as an earlier process was
// killed.
func TestStale(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		err := b.journal.Update(t.Context(), project, sess, func(tx *journal.Tx) error {
			return tx.Append(&event.EnvironmentChanged{Status: session.PlaceConnected, Epoch: 1})
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := sent((<-b.call(t.Context(), "eff_1", "work", `{}`)).err); got != "not sent" {
			t.Errorf("the call was %s", got)
		}
		if got := b.status(); got != session.PlaceDisconnected {
			t.Errorf("the environment is %s, want disconnected", got)
		}
	})
}

// TestUnauthorized has every wrong token and every wrong environment refused in
// the same words.
func TestUnauthorized(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		const want = `{"error":{"code":null,"message":"There is no such environment, or it has another token.","param":null,"type":"invalid_request_error"}}`
		for _, tt := range []struct{ env, token string }{{env, "envtok_2"}, {env, ""}, {"env_2", token}, {"sess_1", token}, {"1", token}} {
			if _, _, status, answer := b.connect(tt.env, tt.token); status != http.StatusUnauthorized || answer != want {
				t.Errorf("%s with %q: %d %s", tt.env, tt.token, status, answer)
			}
		}
	})
}

// TestPieces has documents that are larger than a frame come over whole, in both
// directions, and output in its order.
func TestPieces(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		d := newDesk()
		b.serve(t.Context(), machine(t, d, filepath.Join(t.TempDir(), "effects")))
		big := strings.Repeat("0123456789 é\n", 1<<18)
		var output strings.Builder
		done := make(chan outcome, 1)
		go func() {
			res, err := b.hub.Server(project, sess).Call(t.Context(), tool.Call{
				EffectID: "eff_1", Session: sess, Name: "work", Arguments: event.TextOutput(big),
				Output: func(chunk string) { output.WriteString(chunk) },
			})
			done <- outcome{res, err}
		}()
		c := <-d.began
		if event.OutputText(c.Arguments) != big {
			t.Error("the arguments are others than were sent")
		}
		c.Output(big)
		d.results <- tool.Text(big)
		if out := <-done; out.err != nil || event.OutputText(out.res.Output) != big {
			t.Errorf("the result is another than was given: %v", out.err)
		}
		if output.String() != big {
			t.Errorf("the output has %d bytes, want %d", output.Len(), len(big))
		}
	})
}

// TestForeign has a machine refused that does not speak the protocol.
func TestForeign(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		for _, tt := range []struct{ frame, want string }{
			{`{"type":"output","call":1}`, "a output before a hello"},
			{`nonsense`, "a frame that is not what one is"},
			{`{"type":"hello","body":"e30="}`, "protocol version 0, and this runtime speaks 1"},
			// {"version":1,"tools":[{"name":"a b"}]}
			{`{"type":"hello","body":"eyJ2ZXJzaW9uIjoxLCJ0b29scyI6W3sibmFtZSI6ImEgYiJ9XX0="}`, `the tool name "a b"`},
		} {
			conn, _, status, answer := b.connect(env, token)
			if conn == nil {
				t.Fatalf("%d %s", status, answer)
			}
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(tt.frame)); err != nil {
				t.Fatal(err)
			}
			_, _, err := conn.Read(t.Context())
			var closed websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation || !strings.Contains(closed.Reason, tt.want) {
				t.Errorf("%s: %v, want %q", tt.frame, err, tt.want)
			}
			synctest.Wait()
		}
		if got := b.status(); got != "" {
			t.Errorf("the environment is %s, want that nothing is said of it", got)
		}
	})
}

// TestDropped ends the connection of a session that was deleted.
func TestDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		s := b.serve(t.Context(), machine(t, newDesk(), filepath.Join(t.TempDir(), "effects")))
		b.hub.Drop(project, sess)
		if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "the session was deleted") {
			t.Errorf("the machine's end: %v", err)
		}
	})
}

// TestRenewed has a machine disconnected whose token is not the environment's any
// more, and the call that it made go on with the new one.
func TestRenewed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		const why = "the environment has another token now"
		d := newDesk()
		m := machine(t, d, filepath.Join(t.TempDir(), "effects"))
		early, _, _, _ := b.connect(env, token) // which has not said hello
		b.renew("envtok_2")
		lost := make(chan error, 1)
		go func() { lost <- m.Serve(t.Context(), early, nil) }()
		if err := <-lost; websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), why) {
			t.Errorf("a machine that was admitted just before: %v", err)
		}
		synctest.Wait()
		if got := b.status(); got != "" {
			t.Errorf("the environment is %s, want that nothing is said of it", got)
		}

		s := b.serveWith(t.Context(), m, "envtok_2")
		done := b.call(t.Context(), "eff_1", "work", `{}`)
		<-d.began
		b.renew("envtok_3")
		b.hub.Renewed(project, sess)
		if err := <-s.ended; websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), why) {
			t.Errorf("the machine's end: %v", err)
		}
		if out := <-done; sent(out.err) != "sent" {
			t.Errorf("the call: %+v", out)
		}
		synctest.Wait()
		if got := b.status(); got != session.PlaceDisconnected {
			t.Errorf("the environment is %s, want disconnected", got)
		}
		for _, old := range []string{token, "envtok_2"} {
			if _, _, status, _ := b.connect(env, old); status != http.StatusUnauthorized {
				t.Errorf("an old token: %d, want 401", status)
			}
		}
		b.serveWith(t.Context(), m, "envtok_3")
		again := b.call(t.Context(), "eff_1", "work", `{}`)
		d.results <- tool.Text("done")
		if out := <-again; out.err != nil || event.OutputText(out.res.Output) != "done" || d.times("eff_1") != 1 {
			t.Errorf("the call that came again: %+v, made %d times", out, d.times("eff_1"))
		}
	})
}

// TestClosed has the log say that nobody is connected when the runtime stops, and
// the machine told why.
func TestClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		s := b.serve(t.Context(), machine(t, newDesk(), filepath.Join(t.TempDir(), "effects")))
		b.hub.Close()
		if got := b.status(); got != session.PlaceDisconnected {
			t.Errorf("the environment is %s, want disconnected", got)
		}
		if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "the runtime is stopping") {
			t.Errorf("the machine's end: %v", err)
		}
		if _, _, status, _ := b.connect(env, token); status != http.StatusServiceUnavailable {
			t.Errorf("a machine that comes later: %d, want 503", status)
		}
	})
}
