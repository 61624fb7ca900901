package js

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"modernc.org/quickjs"
)

// register gives the interpreter the functions of the host, under names that
// the prelude takes away. They take and return strings, and a bool.
func (p *program) register(vm *quickjs.VM) error {
	for name, fn := range map[string]quickjs.HostFunc{
		"emit":   p.text(1, p.emit),
		"read":   p.text(1, p.read),
		"write":  p.text(2, func(a []string) (any, error) { return nil, p.files.WriteFile(a[0], []byte(a[1])) }),
		"append": p.text(2, func(a []string) (any, error) { return nil, p.files.AppendFile(a[0], []byte(a[1])) }),
		"list":   p.text(1, p.list),
		"exists": p.text(1, func(a []string) (any, error) { return p.files.Exists(a[0]) }),
		"remove": p.text(1, func(a []string) (any, error) { return nil, p.files.Remove(a[0]) }),
		"mkdir":  p.text(1, func(a []string) (any, error) { return nil, p.files.Mkdir(a[0]) }),
	} {
		if err := vm.RegisterHostFunc("__host_"+name, fn); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
	}
	return nil
}

// text makes a host function of one that takes n strings. It fails once the run
// is over, so that code which calls it in a loop ends.
func (p *program) text(n int, fn func([]string) (any, error)) quickjs.HostFunc {
	return func(args []any) (any, error) {
		if err := p.ctx.Err(); err != nil {
			return nil, err
		}
		if len(args) != n {
			return nil, fmt.Errorf("%d arguments, want %d", len(args), n)
		}
		texts := make([]string, n)
		for i, a := range args {
			s, ok := a.(string)
			if !ok {
				return nil, errors.New("the argument is not a string")
			}
			texts[i] = s
		}
		return fn(texts)
	}
}

func (p *program) emit(a []string) (any, error) {
	_, err := p.out.Write([]byte(a[0]))
	return nil, err
}

func (p *program) read(a []string) (any, error) {
	b, err := p.files.ReadFile(a[0])
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > p.memory/2 {
		return nil, fmt.Errorf("%s has %d bytes, which is too much for the memory limit", a[0], len(b))
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%s is not UTF-8 text (%s)", a[0], http.DetectContentType(b))
	}
	return string(b), nil
}

func (p *program) list(a []string) (any, error) {
	names, err := p.files.List(a[0])
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = []string{}
	}
	b, err := json.Marshal(names)
	return string(b), err
}
