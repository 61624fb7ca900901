package storetest

import (
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

var objectCases = []testCase{
	{"RoundTrip", testObjectRoundTrip},
	{"Versions", testObjectVersions},
	{"OneWriterWins", testObjectOneWriterWins},
	{"List", testObjectList},
	{"Delete", testObjectDelete},
	{"OtherProject", testObjectOtherProject},
	{"Kinds", testObjectKinds},
	{"Tree", testObjectTree},
}

func object(project, id string, created int) store.Object {
	return store.Object{Project: project, Kind: store.KindAgent, ID: id, Version: 1, CreatedAt: at(created), UpdatedAt: at(created), Data: []byte(`{"id": "` + id + `"}`)}
}

func (f *fixture) createObject(o store.Object) {
	f.Helper()
	if err := f.s.CreateObject(f.ctx, o); err != nil {
		f.Fatalf("create object %s: %v", o.ID, err)
	}
}

func testObjectRoundTrip(f *fixture) {
	a := object("p", "a", 1)
	a.Data = []byte(text(20_000, "object"))
	f.createObject(a)
	for _, s := range []store.Store{f.s, f.reopen()} {
		got, err := s.Object(f.ctx, "p", store.KindAgent, "a")
		if err != nil {
			f.Fatalf("object: %v", err)
		}
		f.same("object", got, a)
	}
	if err := f.s.CreateObject(f.ctx, object("p", "a", 9)); !errors.Is(err, store.ErrConflict) {
		f.Errorf("create again: %v, want ErrConflict", err)
	}
	if _, err := f.s.Object(f.ctx, "p", store.KindAgent, "b"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("no such object: %v, want ErrNotFound", err)
	}
}

func testObjectVersions(f *fixture) {
	a := object("p", "a", 1)
	f.createObject(a)
	for _, version := range []int64{0, 1, 3} {
		bad := a
		bad.Version, bad.Data = version, []byte(`"wrong"`)
		if err := f.s.UpdateObject(f.ctx, bad); !errors.Is(err, store.ErrConflict) {
			f.Errorf("update to version %d: %v, want ErrConflict", version, err)
		}
	}
	a.Version, a.UpdatedAt, a.Data = 2, at(5), []byte(`{"n": 2}`)
	if err := f.s.UpdateObject(f.ctx, a); err != nil {
		f.Fatalf("update: %v", err)
	}
	got, err := f.s.Object(f.ctx, "p", store.KindAgent, "a")
	if err != nil {
		f.Fatalf("object: %v", err)
	}
	f.same("object", got, a)
	if err := f.s.UpdateObject(f.ctx, object("p", "b", 1)); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("update of no object: %v, want ErrNotFound", err)
	}
}

func testObjectOneWriterWins(f *fixture) {
	f.createObject(object("p", "a", 1))
	errs := make([]error, 8)
	together(len(errs), func(i int) {
		a := object("p", "a", 1)
		a.Version, a.Data = 2, fmt.Appendf(nil, "%d", i)
		errs[i] = f.s.UpdateObject(f.ctx, a)
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

func (f *fixture) listObjects(q store.ObjectQuery, want ...string) {
	f.Helper()
	if q.Kind == "" {
		q.Kind = store.KindAgent
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	list, err := f.s.ListObjects(f.ctx, q)
	if err != nil {
		f.Errorf("list objects %+v: %v", q, err)
		return
	}
	var got []string
	for _, a := range list {
		got = append(got, a.ID)
	}
	f.same(fmt.Sprintf("list objects %+v", q), got, want)
}

func testObjectList(f *fixture) {
	for _, id := range []string{"t3", "t1", "t2"} {
		f.createObject(object("p", id, 5))
	}
	f.createObject(object("p", "late", 9))
	f.createObject(object("p", "early", 1))
	f.createObject(object("q", "other", 1))

	asc := []string{"early", "t1", "t2", "t3", "late"}
	desc := []string{"late", "t3", "t2", "t1", "early"}
	f.listObjects(store.ObjectQuery{Project: "p", Asc: true}, asc...)
	f.listObjects(store.ObjectQuery{Project: "p"}, desc...)
	for i := range asc {
		f.listObjects(store.ObjectQuery{Project: "p", Asc: true, After: asc[i]}, asc[i+1:]...)
		f.listObjects(store.ObjectQuery{Project: "p", After: desc[i]}, desc[i+1:]...)
	}
	f.listObjects(store.ObjectQuery{Project: "p", Limit: 2, After: "t3"}, "t2", "t1")
	f.listObjects(store.ObjectQuery{Project: "nobody"})
	for _, after := range []string{"nobody", "other"} {
		_, err := f.s.ListObjects(f.ctx, store.ObjectQuery{Project: "p", Kind: store.KindAgent, After: after, Limit: 10})
		if !errors.Is(err, store.ErrNotFound) {
			f.Errorf("cursor %s: %v, want ErrNotFound", after, err)
		}
	}
}

func testObjectDelete(f *fixture) {
	f.createObject(object("p", "a", 1))
	f.createObject(object("p", "b", 2))
	if err := f.s.DeleteObject(f.ctx, "p", store.KindAgent, "a"); err != nil {
		f.Fatalf("delete: %v", err)
	}
	if _, err := f.s.Object(f.ctx, "p", store.KindAgent, "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("deleted object: %v, want ErrNotFound", err)
	}
	if err := f.s.DeleteObject(f.ctx, "p", store.KindAgent, "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("delete again: %v, want ErrNotFound", err)
	}
	f.listObjects(store.ObjectQuery{Project: "p"}, "b")
}

func testObjectOtherProject(f *fixture) {
	f.createObject(object("p", "a", 1))
	if _, err := f.s.Object(f.ctx, "q", store.KindAgent, "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("object of another project: %v, want ErrNotFound", err)
	}
	a := object("q", "a", 1)
	a.Version = 2
	if err := f.s.UpdateObject(f.ctx, a); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("update of another project's object: %v, want ErrNotFound", err)
	}
	if err := f.s.DeleteObject(f.ctx, "q", store.KindAgent, "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("delete of another project's object: %v, want ErrNotFound", err)
	}
	f.listObjects(store.ObjectQuery{Project: "p"}, "a")
}

// testObjectKinds has the same id in every kind.
func testObjectKinds(f *fixture) {
	kinds := []string{store.KindAgent, store.KindTemplate, store.KindEnvironment, store.KindFile}
	for i, kind := range kinds {
		o := object("p", "same", i)
		o.Kind = kind
		f.createObject(o)
		o = object("p", "only "+kind, 9)
		o.Kind = kind
		f.createObject(o)
	}
	for _, kind := range kinds {
		f.listObjects(store.ObjectQuery{Project: "p", Kind: kind, Asc: true}, "same", "only "+kind)
		f.listObjects(store.ObjectQuery{Project: "p", Kind: kind, Asc: true, After: "same"}, "only "+kind)
	}
	o := object("p", "same", 2)
	o.Kind, o.Version, o.Data = store.KindEnvironment, 2, []byte(`"second"`)
	if err := f.s.UpdateObject(f.ctx, o); err != nil {
		f.Fatalf("update: %v", err)
	}
	if err := f.s.DeleteObject(f.ctx, "p", store.KindTemplate, "same"); err != nil {
		f.Fatalf("delete: %v", err)
	}
	for i, want := range []string{`{"id": "same"}`, "", `"second"`, `{"id": "same"}`} {
		got, err := f.s.Object(f.ctx, "p", kinds[i], "same")
		if want == "" {
			if !errors.Is(err, store.ErrNotFound) {
				f.Errorf("deleted %s: %v, want ErrNotFound", kinds[i], err)
			}
			continue
		}
		if err != nil || string(got.Data) != want || got.Kind != kinds[i] {
			f.Errorf("%s: %s of kind %s, %v; want %s", kinds[i], got.Data, got.Kind, err, want)
		}
	}
}

func testObjectTree(f *fixture) {
	o := object("p", "a", 1)
	o.Kind, o.Tree = store.KindFile, &event.Hash{1, 2, 31: 3}
	f.createObject(o)
	for _, tree := range []*event.Hash{{4}, nil, {5}} {
		o.Version++
		o.Tree = tree
		if err := f.s.UpdateObject(f.ctx, o); err != nil {
			f.Fatalf("update: %v", err)
		}
		got, err := f.s.Object(f.ctx, "p", store.KindFile, "a")
		if err != nil {
			f.Fatalf("object: %v", err)
		}
		f.same("object", got, o)
	}
}
