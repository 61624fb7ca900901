package effect

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/session"
)

// citation is one as the model is asked to write it, or several at once.
var citation = regexp.MustCompile(`\[(\d{1,9}(?:\s*,\s*\d{1,9})*)\]`)

// cite finds which of the memories that the speaker was given an answer cites.
func (r *Recollection) cite(s *session.State) {
	type recalled struct{ id, actor string }
	var all []recalled // by number, less one
	for i := range s.Items {
		it := &s.Items[i]
		for _, id := range it.MemoryIDs {
			all = append(all, recalled{id, s.SpeakerOf(s.Turn(it.TurnID))})
		}
	}
	if len(all) == 0 {
		return
	}
	for i := range r.Said {
		m := &r.Said[i]
		if en, ok := s.Item(m.itemID); !ok || en.Role != event.RoleAssistant {
			continue
		}
		for _, n := range numbers(m.text) {
			if n >= 1 && n <= len(all) && all[n-1].actor == m.actor && !slices.Contains(m.cites, all[n-1].id) {
				m.cites = append(m.cites, all[n-1].id)
			}
		}
	}
}

// numbers are those by which a text cites.
func numbers(text string) (list []int) {
	for _, found := range citation.FindAllStringSubmatch(text, -1) {
		for _, word := range strings.Split(found[1], ",") {
			if n, err := strconv.Atoi(strings.TrimSpace(word)); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// cited are the memories that the messages cite, each once, but for messages that
// an attempt before this one has kept, and whose citations it may have noted.
func (r *Recollection) cited(kept []memory.Record, repeated []bool) (ids []string) {
	again := map[string]bool{}
	for i := range kept {
		again[kept[i].Source.ItemIDs[0]] = repeated[i]
	}
	for i := range r.Said {
		m := &r.Said[i]
		if again[m.itemID] {
			continue
		}
		for _, id := range m.cites {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
