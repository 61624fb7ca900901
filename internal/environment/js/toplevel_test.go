package js

import (
	"testing"
	"time"

	"modernc.org/quickjs"
)

// Code that runs as it was written runs as it is rewritten, too.
func FuzzLasting(f *testing.F) {
	for _, s := range []string{
		"let a = 1", "const {a, b: [c]} = {a: 1, b: [2]}", "class A { m() { return `${1}` } }\n[1]", "class A extends class {} {}\nnew A",
		"let\nx\n=\n1", "let x = 1 / 2 / 3, r = /[/]'/g", "for (let i of [1]) { const j = i }", "var let1 = 1; let1", "({let: 1, class: 2}).class", "if (1) { let a }",
		"const f = () => { class B {} }; class C { static #p = 1; get x() { return '}' } }", "// let a = '\nlet b = 1", "/* class */ class D {}", "`a${`b${1}`}`", "let ü = 1",
	} {
		f.Add(s)
	}
	runs := func(code string) (bool, error) {
		vm, err := quickjs.NewVM()
		if err != nil {
			return false, err
		}
		defer vm.Close()
		vm.SetMemoryLimit(16 << 20)
		if err := vm.SetEvalTimeout(100 * time.Millisecond); err != nil {
			return false, err
		}
		v, err := vm.EvalValue(code, quickjs.EvalGlobal)
		if err != nil {
			return false, nil // it does not run
		}
		v.Free()
		return true, nil
	}
	f.Fuzz(func(t *testing.T, code string) {
		changed := lasting(code)
		if changed == code {
			return
		}
		before, err := runs(code)
		if err != nil {
			t.Fatal(err)
		}
		after, err := runs(changed)
		if err != nil {
			t.Fatal(err)
		}
		if before && !after {
			t.Errorf("%q runs, and %q does not", code, changed)
		}
	})
}
