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

// lookedUp looks at the plans of all that is asked of the space, those for any values
// and those for the ones that are given. Ids are only looked for with the former.
func lookedUp(t *testing.T, db *pgx.Conn, space string) {
	t.Helper()
	var ids string
	err := db.QueryRow(t.Context(), `SELECT array_agg(m.id)::text FROM memories m JOIN memory_spaces s ON s.shard = m.shard AND s.num = m.space
		WHERE s.name = $1 AND m.num IN (7, 2000)`, space).Scan(&ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		name, sql, args, mode string
		want                  float64
	}{
		{"by number", postgres.MemoryByNum, `'{5,1500,2999}'`, "force_generic_plan", 3},
		{"by number", postgres.MemoryByNum, `'{5,1500,2999}'`, "force_custom_plan", 3},
		{"by id", postgres.MemoryByID, `'` + ids + `'`, "force_generic_plan", 2},
		{"changed", postgres.MemoryChanged, `100, 10`, "force_generic_plan", 10},
		{"changed", postgres.MemoryChanged, `100, 10`, "force_custom_plan", 10},
		{"unembedded", postgres.MemoryUnembedded, `100, 'm', 10`, "force_generic_plan", 10},
		{"unembedded", postgres.MemoryUnembedded, `100, 'm', 10`, "force_custom_plan", 10},
	} {
		run(t, db, `SET plan_cache_mode = `+q.mode)
		run(t, db, `PREPARE q AS `+q.sql)
		var raw []byte
		err := db.QueryRow(t.Context(), fmt.Sprintf(`EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE q (%d, 'p', '%s', %s)`, memory.ShardOf("p", space), space, q.args)).Scan(&raw)
		if err != nil {
			t.Fatalf("%s: %v", q.name, err)
		}
		run(t, db, `DEALLOCATE q`)
		var plans []struct{ Plan planned }
		if err := json.Unmarshal(raw, &plans); err != nil {
			t.Fatal(err)
		}
		if got := plans[0].Plan.read(); got != q.want {
			t.Errorf("%s, %s: %v records were read, want %v:\n%s", q.name, q.mode, got, q.want, raw)
		}
	}
}
