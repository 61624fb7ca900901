package script

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/model"
)

// noMatch says what the request was and which step came nearest.
func (s *Script) noMatch(v *view) error {
	var b strings.Builder
	fmt.Fprintf(&b, "script/%s: no step answers this request (a script only plays what its file says). ", s.name)
	fmt.Fprintf(&b, "Last user message: %s.", shorten(v.lastUser()))
	if o := v.output(); o != nil {
		fmt.Fprintf(&b, " Last tool output: %s.", shorten(o.content()))
	}
	fmt.Fprintf(&b, " Model calls so far: %d in this turn, %d in the session; items: %d.", v.turnCalls, v.calls(), len(v.req.Items))
	if s.recorded {
		b.WriteString(s.nearestRecorded(v))
	}
	if near := s.nearest(v); near != "" {
		b.WriteString(near)
		b.WriteString(" Add a step for it to the file, or a last one with \"when: {always: true}\".")
	}
	return &model.Error{Code: "invalid_request", Message: b.String()}
}

// nearest describes the step, of those that were not recorded, of which the
// greatest part holds.
func (s *Script) nearest(v *view) string {
	best, bestHeld, bestOf := -1, 0, 1
	for i := range s.steps {
		st := &s.steps[i]
		if st.request != "" || len(st.when) == 0 {
			continue
		}
		v.chosen = -1
		held := 0
		for j := range st.when {
			if st.when[j].holds(v) {
				held++
			}
		}
		if n := len(st.when); best < 0 || held*bestOf > bestHeld*n {
			best, bestHeld, bestOf = i, held, n
		}
	}
	if best < 0 {
		return ""
	}
	st := &s.steps[best]
	var missing []string
	for j := range st.when {
		if !st.when[j].holds(v) {
			missing = append(missing, st.when[j].text)
		}
	}
	if missing == nil {
		return fmt.Sprintf(" Step %d (line %d) matches, but only gives an error, and has given it.", best+1, st.line)
	}
	return fmt.Sprintf(" Nearest is step %d (line %d), where this does not hold: %s.", best+1, st.line, strings.Join(missing, "; "))
}

// nearestRecorded describes the recorded request that differs least.
func (s *Script) nearestRecorded(v *view) string {
	best, bestDiff := -1, []string(nil)
	for i := range s.steps {
		st := &s.steps[i]
		if st.recorded == nil {
			continue
		}
		if diff := st.recorded.differences(v.fingerprint()); best < 0 || len(diff) < len(bestDiff) {
			best, bestDiff = i, diff
		}
	}
	if best < 0 {
		return " It has none of the recorded hashes."
	}
	if len(bestDiff) == 0 {
		bestDiff = []string{"nothing that the recording kept"}
	}
	return fmt.Sprintf(" Nearest of the recorded requests is step %d (line %d), which differs in: %s. Record the run again, or undo the change.",
		best+1, s.steps[best].line, strings.Join(bestDiff, "; "))
}

// shorten quotes the beginning of a text.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	n := most
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%q (%d bytes)", s[:n]+"...", len(s))
}
