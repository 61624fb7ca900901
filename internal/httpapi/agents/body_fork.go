package agents

import "github.com/stayd/stayd/internal/httpapi"

// forkSession is the body of a fork; an addition of Stayd's.
type forkSession struct {
	At           *forkPoint             `json:"at,omitzero" doc:"Where the fork begins. Defaults to the end of the log."`
	Turn         string                 `json:"turn,omitzero" enum:"continue,cancel" doc:"What becomes of turns that had not ended: they go on in the fork (the default), or end as cancelled."`
	Agent        opt[AgentSettings]     `json:"agent,omitzero"`
	Metadata     opt[map[string]string] `json:"metadata,omitzero" doc:"Defaults to that of the session."`
	SpendControl opt[spendBody]         `json:"spend_control,omitzero"`
	Input        inputBody              `json:"input,omitzero" doc:"Messages that begin a new turn of the fork."`
}

// forkPoint names a point of a log in one of three ways.
type forkPoint struct {
	Record int64  `json:"record,omitzero" minimum:"1" doc:"After the record with this sequence number."`
	Turn   string `json:"turn,omitzero" doc:"After the end of this turn."`
	Item   string `json:"item,omitzero" doc:"After the record that completed this item."`
}

const turnCancel = "cancel"

func (p *forkPoint) check() error {
	given := 0
	for _, is := range []bool{p.Record != 0, p.Turn != "", p.Item != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return httpapi.Invalid("at", "Name the point by one of 'record', 'turn' and 'item'.")
	}
	return nil
}

// forkedFrom says which session, and which of its records, a fork begins after.
type forkedFrom struct {
	SessionID string `json:"session_id"`
	Record    int64  `json:"record"`
}
