package js_test

import (
	"testing"

	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/shell"
)

func TestEscape(t *testing.T) {
	environmenttest.Escape(t, js.New(js.NewEngine(js.Limits{})), shell.Limits{})
}
