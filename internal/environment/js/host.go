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
func (m *machine) register() error {
	for name, fn := range map[string]quickjs.HostFunc{
		"emit":   m.text(1, m.emit),
		"read":   m.text(1, m.read),
		"write":  m.text(2, func(a []string) (any, error) { return nil, m.files.WriteFile(a[0], a[1]) }),
		"append": m.text(2, func(a []string) (any, error) { return nil, m.files.AppendFile(a[0], a[1]) }),
		"list":   m.text(1, m.list),
		"exists": m.text(1, func(a []string) (any, error) { return m.files.Exists(a[0]) }),
		"remove": m.text(1, func(a []string) (any, error) { return nil, m.files.Remove(a[0]) }),
		"mkdir":  m.text(1, func(a []string) (any, error) { return nil, m.files.Mkdir(a[0]) }),
	} {
		if err := m.vm.RegisterHostFunc("__host_"+name, fn); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
	}
	return nil
}

// text makes a host function of one that takes n strings. It fails once the run
// is over, so that code which calls it in a loop ends.
func (m *machine) text(n int, fn func([]string) (any, error)) quickjs.HostFunc {
	return func(args []any) (any, error) {
		if err := m.now.ctx.Err(); err != nil {
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

func (m *machine) emit(a []string) (any, error) {
	_, err := m.now.out.Write([]byte(a[0]))
	return nil, err
}

func (m *machine) read(a []string) (any, error) {
	b, err := m.files.ReadFile(a[0])
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > m.memory/2 {
		return nil, fmt.Errorf("%s has %d bytes, which is too much for the memory limit", a[0], len(b))
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%s is not UTF-8 text (%s)", a[0], http.DetectContentType(b))
	}
	return string(b), nil
}

func (m *machine) list(a []string) (any, error) {
	names, err := m.files.List(a[0])
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = []string{}
	}
	b, err := json.Marshal(names)
	return string(b), err
}
