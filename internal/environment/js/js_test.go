package js_test

import (
	"encoding/json"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/tool"
)

func TestDriver(t *testing.T) {
	environmenttest.Run(t, js.New(js.NewEngine(js.Limits{})))
}

// What a run costs beyond the code: a new interpreter and its library.
func BenchmarkRun(b *testing.B) {
	d := js.New(js.NewEngine(js.Limits{}))
	srv, err := d.Open(b.Context(), environment.Spec{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	for name, code := range map[string]string{"reads": `1`, "writes": `fs.writeFile("f", "x")`} {
		b.Run(name, func(b *testing.B) {
			args, err := json.Marshal(map[string]string{"code": code})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				res, err := srv.Call(b.Context(), tool.Call{Name: js.RunCode, Arguments: args})
				if err != nil || *res.ExitCode != 0 {
					b.Fatal(err, res)
				}
			}
		})
	}
}
