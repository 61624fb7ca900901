package postgres_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
)

// TestUsesOfManySpaces counts uses in several shards: in lanes each shard commits
// alone, and else all at once.
func TestUsesOfManySpaces(t *testing.T) {
	for name, open := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			s, err := open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			exec(t, url, `CREATE TABLE seen (shard smallint, tx bigint);
				CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					INSERT INTO seen VALUES (NEW.shard, txid_current()); RETURN NEW; END $$;
				CREATE TRIGGER see BEFORE UPDATE ON memories FOR EACH ROW EXECUTE FUNCTION see()`)
			var uses []store.MemoryUse
			shards := map[int]bool{}
			for i := range 20 {
				space := fmt.Sprintf("/a/%d", i%10)
				r := remembered(space, strconv.Itoa(i), "word", 1)
				if _, err := s.WriteMemories(t.Context(), &store.MemoryWrite{Project: "p", Space: space, Add: []memory.Record{r}}); err != nil {
					t.Fatal(err)
				}
				shards[memory.ShardOf("p", space)] = true
				uses = append(uses, store.MemoryUse{ID: r.ID, Times: int64(i + 1), At: time.Unix(1_700_000_000, 0)})
			}
			if err := s.UseMemories(t.Context(), "p", uses); err != nil {
				t.Fatal(err)
			}
			for _, u := range uses {
				if r, err := s.Memory(t.Context(), "p", u.ID); err != nil || r.Uses != u.Times || !r.UsedAt.Equal(u.At) {
					t.Errorf("%s was used %d times, the last time at %s, %v; want %+v", u.ID, r.Uses, r.UsedAt, err, u)
				}
			}
			commits, most := 1, int64(len(shards))
			if name == "lanes" {
				commits, most = len(shards), 1
			}
			if got := first[int64](t, url, `SELECT count(DISTINCT tx) FROM seen`); got != int64(commits) {
				t.Errorf("there were %d commits of %d shards, want %d", got, len(shards), commits)
			}
			if got := first[int64](t, url, `SELECT max(n) FROM (SELECT count(DISTINCT shard) AS n FROM seen GROUP BY tx) AS each`); got != most {
				t.Errorf("a commit spans %d shards, want at most %d", got, most)
			}
		})
	}
}
