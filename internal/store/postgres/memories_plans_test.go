package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
)

// planned is a step of the database's plan of a query, with what it did.
type planned struct {
	Relation string    `json:"Relation Name"`
	Rows     float64   `json:"Actual Rows"`
	Loops    float64   `json:"Actual Loops"`
	Removed  float64   `json:"Rows Removed by Filter"`
	Plans    []planned `json:"Plans"`
}

// read is how many records were read for the query.
func (p *planned) read() float64 {
	sum := 0.0
	if p.Relation == "memories" {
		sum = p.Loops * (p.Rows + p.Removed)
	}
	for i := range p.Plans {
		sum += p.Plans[i].read()
	}
	return sum
}

// What is asked of a large space reads what it answers, whatever the database knows of
// how many records spaces have.
func TestMemoriesAreLookedUp(t *testing.T) {
	for _, known := range []string{"nothing", "other spaces", "all"} {
		t.Run(known, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			s := openStore(t, url)
			db, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close(context.WithoutCancel(t.Context()))
			// As in a write of a connection that was there when nothing else was.
			run(t, db, `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; PREPARE by_id AS `+postgres.MemoryByID)
			run(t, db, `EXECUTE by_id (1, 'p', '/actors/a', '{}'); RESET enable_seqscan`)
			if known == "other spaces" {
				fill(t, s, "/actors/b", 1000)
				for i := range 100 {
					fill(t, s, "/others/"+strconv.Itoa(i), 10)
				}
				run(t, db, `ANALYZE`)
			}
			fill(t, s, "/actors/a", 3000)
			if known == "all" {
				run(t, db, `ANALYZE`)
			}
			lookedUp(t, db, "/actors/a")
		})
	}
}

func fill(t *testing.T, s store.Store, space string, records int) {
	t.Helper()
	w := &store.MemoryWrite{Project: "p", Space: space}
	for i := range records {
		id := memory.ID("p", space, strconv.Itoa(i))
		w.Add = append(w.Add, memory.Record{ID: id, Namespace: space, Strategy: memory.Semantic, Origin: memory.OriginUser, Text: "t", RecordedAt: time.UnixMicro(1)})
	}
	if _, err := s.WriteMemories(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, db *pgx.Conn, sql string) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// lookedUp looks at how many records are read by what is asked of the space: by plans
// for any values, and by plans for those that are given.
func lookedUp(t *testing.T, db *pgx.Conn, space string) {
	t.Helper()
	var ids string
	if err := db.QueryRow(t.Context(), `SELECT array_agg(id)::text FROM memories WHERE num IN (1007, 2000)`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	read := func(statement, args string, want float64) {
		t.Helper()
		var raw []byte
		sql := fmt.Sprintf(`EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE %s (%d, 'p', '%s', %s)`, statement, memory.ShardOf("p", space), space, args)
		if err := db.QueryRow(t.Context(), sql).Scan(&raw); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		var plans []struct{ Plan planned }
		if err := json.Unmarshal(raw, &plans); err != nil {
			t.Fatal(err)
		}
		if got := plans[0].Plan.read(); got != want {
			t.Errorf("%s: %v records were read, want %v:\n%s", statement, got, want, raw)
		}
	}
	read("by_id", `'`+ids+`'`, 2)
	run(t, db, `PREPARE by_num AS `+postgres.MemoryByNum)
	run(t, db, `PREPARE changed AS `+postgres.MemoryChanged)
	run(t, db, `PREPARE unembedded AS `+postgres.MemoryUnembedded)
	for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
		run(t, db, `SET plan_cache_mode = `+mode)
		read("by_num", `'{5,1500,2999}'`, 3)
		read("changed", `100, 10`, 10)
		read("unembedded", `100, 'm', 10`, 10)
	}
}
