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

// What is asked of a large space reads what it answers, whatever the database
// believes of how many records spaces have.
func TestMemoriesAreLookedUp(t *testing.T) {
	url := pgtest.Start(t)
	s := openStore(t, url)
	const space, records = "/actors/a", 3000
	for from := 0; from < records; from += 1000 {
		w := &store.MemoryWrite{Project: "p", Space: space}
		for i := from; i < from+1000; i++ {
			id := memory.ID("p", space, strconv.Itoa(i))
			w.Add = append(w.Add, memory.Record{ID: id, Namespace: space, Strategy: memory.Semantic, Origin: memory.OriginUser, Text: "t", RecordedAt: time.UnixMicro(1)})
		}
		if _, err := s.WriteMemories(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	var ids string
	if err := db.QueryRow(t.Context(), `SELECT array_agg(id)::text FROM memories WHERE num IN (7, 2000)`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	queries := map[string]struct {
		sql, args string
		want      float64
	}{
		"by number":  {postgres.MemoryByNum, `'{5,1500,2999}'`, 3},
		"by id":      {postgres.MemoryByID, `'` + ids + `'`, 2},
		"changed":    {postgres.MemoryChanged, `100, 10`, 10},
		"unembedded": {postgres.MemoryUnembedded, `100, 'm', 10`, 10},
	}
	run := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, known := range []string{"nothing", "all"} {
		if known == "all" {
			run(`ANALYZE`)
		}
		for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
			run(`SET plan_cache_mode = ` + mode)
			for name, q := range queries {
				run(`PREPARE q AS ` + q.sql)
				var raw []byte
				err := db.QueryRow(t.Context(), fmt.Sprintf(`EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE q (%d, 'p', '%s', %s)`, memory.ShardOf("p", space), space, q.args)).Scan(&raw)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				run(`DEALLOCATE q`)
				var plans []struct{ Plan planned }
				if err := json.Unmarshal(raw, &plans); err != nil {
					t.Fatal(err)
				}
				if got := plans[0].Plan.read(); got != q.want {
					t.Errorf("%s, %s, with %s known of the tables: %v records were read, want %v:\n%s", name, mode, known, got, q.want, raw)
				}
			}
		}
	}
}
