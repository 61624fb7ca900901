package storetest

import (
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/store"
)

var agentCases = []testCase{
	{"RoundTrip", testAgentRoundTrip},
	{"Versions", testAgentVersions},
	{"OneWriterWins", testAgentOneWriterWins},
	{"List", testAgentList},
	{"Delete", testAgentDelete},
	{"OtherProject", testAgentOtherProject},
}

func agent(project, id string, created int) store.Agent {
	return store.Agent{Project: project, ID: id, Version: 1, CreatedAt: at(created), UpdatedAt: at(created), Data: []byte(`{"id": "` + id + `"}`)}
}

func (f *fixture) createAgent(a store.Agent) {
	f.Helper()
	if err := f.s.CreateAgent(f.ctx, a); err != nil {
		f.Fatalf("create agent %s: %v", a.ID, err)
	}
}

func testAgentRoundTrip(f *fixture) {
	a := agent("p", "a", 1)
	a.Data = []byte(text(20_000, "agent"))
	f.createAgent(a)
	for _, s := range []store.Store{f.s, f.reopen()} {
		got, err := s.Agent(f.ctx, "p", "a")
		if err != nil {
			f.Fatalf("agent: %v", err)
		}
		f.same("agent", got, a)
	}
	if err := f.s.CreateAgent(f.ctx, agent("p", "a", 9)); !errors.Is(err, store.ErrConflict) {
		f.Errorf("create again: %v, want ErrConflict", err)
	}
	if _, err := f.s.Agent(f.ctx, "p", "b"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("no such agent: %v, want ErrNotFound", err)
	}
}

func testAgentVersions(f *fixture) {
	a := agent("p", "a", 1)
	f.createAgent(a)
	for _, version := range []int64{0, 1, 3} {
		bad := a
		bad.Version, bad.Data = version, []byte(`"wrong"`)
		if err := f.s.UpdateAgent(f.ctx, bad); !errors.Is(err, store.ErrConflict) {
			f.Errorf("update to version %d: %v, want ErrConflict", version, err)
		}
	}
	a.Version, a.UpdatedAt, a.Data = 2, at(5), []byte(`{"n": 2}`)
	if err := f.s.UpdateAgent(f.ctx, a); err != nil {
		f.Fatalf("update: %v", err)
	}
	got, err := f.s.Agent(f.ctx, "p", "a")
	if err != nil {
		f.Fatalf("agent: %v", err)
	}
	f.same("agent", got, a)
	if err := f.s.UpdateAgent(f.ctx, agent("p", "b", 1)); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("update of no agent: %v, want ErrNotFound", err)
	}
}

func testAgentOneWriterWins(f *fixture) {
	f.createAgent(agent("p", "a", 1))
	errs := make([]error, 8)
	together(len(errs), func(i int) {
		a := agent("p", "a", 1)
		a.Version, a.Data = 2, fmt.Appendf(nil, "%d", i)
		errs[i] = f.s.UpdateAgent(f.ctx, a)
	})
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, store.ErrConflict) {
			f.Errorf("update: %v, want ErrConflict", err)
		}
	}
	if won != 1 {
		f.Errorf("%d writers stored version 2", won)
	}
}

func (f *fixture) listAgents(q store.AgentQuery, want ...string) {
	f.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	list, err := f.s.ListAgents(f.ctx, q)
	if err != nil {
		f.Errorf("list agents %+v: %v", q, err)
		return
	}
	var got []string
	for _, a := range list {
		got = append(got, a.ID)
	}
	f.same(fmt.Sprintf("list agents %+v", q), got, want)
}

func testAgentList(f *fixture) {
	for _, id := range []string{"t3", "t1", "t2"} {
		f.createAgent(agent("p", id, 5))
	}
	f.createAgent(agent("p", "late", 9))
	f.createAgent(agent("p", "early", 1))
	f.createAgent(agent("q", "other", 1))

	asc := []string{"early", "t1", "t2", "t3", "late"}
	desc := []string{"late", "t3", "t2", "t1", "early"}
	f.listAgents(store.AgentQuery{Project: "p", Asc: true}, asc...)
	f.listAgents(store.AgentQuery{Project: "p"}, desc...)
	for i := range asc {
		f.listAgents(store.AgentQuery{Project: "p", Asc: true, After: asc[i]}, asc[i+1:]...)
		f.listAgents(store.AgentQuery{Project: "p", After: desc[i]}, desc[i+1:]...)
	}
	f.listAgents(store.AgentQuery{Project: "p", Limit: 2, After: "t3"}, "t2", "t1")
	f.listAgents(store.AgentQuery{Project: "nobody"})
	for _, after := range []string{"nobody", "other"} {
		_, err := f.s.ListAgents(f.ctx, store.AgentQuery{Project: "p", After: after, Limit: 10})
		if !errors.Is(err, store.ErrNotFound) {
			f.Errorf("cursor %s: %v, want ErrNotFound", after, err)
		}
	}
}

func testAgentDelete(f *fixture) {
	f.createAgent(agent("p", "a", 1))
	f.createAgent(agent("p", "b", 2))
	if err := f.s.DeleteAgent(f.ctx, "p", "a"); err != nil {
		f.Fatalf("delete: %v", err)
	}
	if _, err := f.s.Agent(f.ctx, "p", "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("deleted agent: %v, want ErrNotFound", err)
	}
	if err := f.s.DeleteAgent(f.ctx, "p", "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("delete again: %v, want ErrNotFound", err)
	}
	f.listAgents(store.AgentQuery{Project: "p"}, "b")
}

func testAgentOtherProject(f *fixture) {
	f.createAgent(agent("p", "a", 1))
	if _, err := f.s.Agent(f.ctx, "q", "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("agent of another project: %v, want ErrNotFound", err)
	}
	a := agent("q", "a", 1)
	a.Version = 2
	if err := f.s.UpdateAgent(f.ctx, a); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("update of another project's agent: %v, want ErrNotFound", err)
	}
	if err := f.s.DeleteAgent(f.ctx, "q", "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("delete of another project's agent: %v, want ErrNotFound", err)
	}
	f.listAgents(store.AgentQuery{Project: "p"}, "a")
}
