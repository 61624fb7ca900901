package session

import "github.com/stayd/stayd/internal/event"

// Speaker is who speaks in the current turn, and where there is none, whom the
// session is with.
func (s *State) Speaker() string {
	if t := s.Current(); t != nil {
		return s.SpeakerOf(t)
	}
	return s.Actor
}

// SpeakerOf is who speaks in the turn.
func (s *State) SpeakerOf(t *Turn) string {
	if t != nil && t.Actor != "" {
		return t.Actor
	}
	return s.Actor
}

// Several reports whether more than one person has spoken in the session.
func (s *State) Several() bool { return s.several }

// nobody is a speaker who is shown nothing that is one person's.
const nobody = "\x00"

// hidden reports whether the item at i has what memory knows about somebody else
// than the speaker. What people say in a conversation all of them may read; what
// was recalled for one of them is theirs, and what was thought before it.
func (s *State) hidden(i int, speaker string) bool {
	en := &s.Items[i]
	if speaker != nobody && (!s.several || s.SpeakerOf(s.Turn(en.TurnID)) == speaker) {
		return false
	}
	if en.Type != event.ItemReasoning {
		return en.private()
	}
	for i++; i < len(s.Items) && s.Items[i].Step == en.Step; i++ {
		if s.Items[i].private() {
			return true
		}
	}
	return false
}

// private reports whether the item has what memory knows about a person.
func (en *Entry) private() bool {
	return en.ServerLabel == event.MemoryLabel || (en.Role == event.RoleDeveloper && len(en.MemoryIDs) > 0)
}

// spoken is the message as a model is given it. Where several people speak it
// says whose it is.
func (s *State) spoken(en *Entry) *event.Item {
	if !s.several || en.Type != event.ItemMessage || en.Role != event.RoleUser {
		return en.Item
	}
	who := s.SpeakerOf(s.Turn(en.TurnID))
	if who == "" {
		who = "somebody who did not say who they are"
	}
	it := *en.Item
	it.Content = append([]event.Content{{Type: event.PartInputText, Text: "[said by " + who + "]"}}, it.Content...)
	return &it
}
