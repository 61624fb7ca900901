package reexec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Program is what the helper is told to become. Nothing of it is in a command line,
// which all users of the machine can read, nor in the helper's own environment.
type Program struct {
	Argv []string
	Dir  string   // where it is run
	Env  []string // as name=value
	// Handled are the rights of Landlock over files that only a rule gives; what the
	// kernel does not know of them is left out.
	Handled uint64
	Rules   []Rule
}

// Rule gives rights over a file, or a folder and all below it, if it is there.
type Rule struct {
	Rights uint64
	Path   string
}

// maxProgram bounds what the helper reads of a program, in bytes: more than the
// kernel takes of arguments and variables.
const maxProgram = 8 << 20

// Write tells the helper at the other end of its gate.
func (p *Program) Write(gate io.Writer) error {
	b := make([]byte, 4)
	b = appendStrings(b, p.Argv)
	b = appendString(b, p.Dir)
	b = appendStrings(b, p.Env)
	b = binary.LittleEndian.AppendUint64(b, p.Handled)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Rules)))
	for _, r := range p.Rules {
		b = binary.LittleEndian.AppendUint64(b, r.Rights)
		b = appendString(b, r.Path)
	}
	if len(b) > maxProgram {
		return fmt.Errorf("a command and its variables have %d bytes, more than %d", len(b), maxProgram)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	_, err := gate.Write(b)
	return err
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

// ReadProgram reads what Write wrote, and nothing that follows it.
func ReadProgram(gate io.Reader) (*Program, error) {
	var size [4]byte
	if _, err := io.ReadFull(gate, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxProgram {
		return nil, fmt.Errorf("%d bytes were announced", n)
	}
	m := message{rest: make([]byte, n)}
	if _, err := io.ReadFull(gate, m.rest); err != nil {
		return nil, err
	}
	p := &Program{Argv: m.strings(), Dir: m.string(), Env: m.strings(), Handled: m.uint64()}
	for range m.count() {
		p.Rules = append(p.Rules, Rule{Rights: m.uint64(), Path: m.string()})
	}
	if m.short || len(m.rest) > 0 || len(p.Argv) == 0 {
		return nil, errors.New("the message is damaged")
	}
	return p, nil
}

// message is a message that is being read. It is short once more was asked of it
// than it has.
type message struct {
	rest  []byte
	short bool
}

func (m *message) take(n int) []byte {
	if m.short || n > len(m.rest) {
		m.short = true
		return nil
	}
	b := m.rest[:n]
	m.rest = m.rest[n:]
	return b
}

func (m *message) uint64() uint64 {
	if b := m.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (m *message) uint32() int {
	if b := m.take(4); b != nil {
		return int(binary.LittleEndian.Uint32(b))
	}
	return 0
}

// count is how many things follow, each of which takes four bytes or more.
func (m *message) count() int {
	n := m.uint32()
	if n > len(m.rest)/4 {
		m.short = true
		return 0
	}
	return n
}

func (m *message) string() string { return string(m.take(m.uint32())) }

func (m *message) strings() []string {
	list := make([]string, m.count())
	for i := range list {
		list[i] = m.string()
	}
	return list
}
