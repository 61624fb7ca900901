package js_test

import (
	"testing"

	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/js"
)

func TestDriver(t *testing.T) {
	environmenttest.Run(t, js.New(js.NewEngine(js.Limits{})))
}
