package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxDocument bounds in bytes what is in memory at once: a line of a format of
// lines, a file that is one JSON document.
const MaxDocument = 64 << 20

// document is one JSON value of a file.
type document struct {
	raw json.RawMessage
	at  string // where it stands, empty where the file is this one value
}

// in says where a part of the document is, by the path to it.
func (d document) in(path string) string {
	switch {
	case d.at == "":
		return path
	case path == "":
		return d.at
	}
	return d.at + ", " + path
}

// documents hands over the JSON values of r. A file whose first line is a value
// is read line by line, and any other one as a whole.
func documents(r io.Reader, each func(document) error) error {
	lines := newLines(r)
	first, err := lines.next()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty: give what was exported")
	}
	if err != nil {
		return err
	}
	if !json.Valid(first) {
		return whole(first, lines, each)
	}
	number := lines.number
	next, err := lines.next()
	if errors.Is(err, io.EOF) {
		if err := encoding(first); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		return each(document{raw: first})
	}
	for line := first; ; {
		if err := syntax(line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := each(document{raw: line, at: fmt.Sprintf("line %d", number)}); err != nil {
			return err
		}
		if err != nil {
			break
		}
		line, number = next, lines.number
		next, err = lines.next()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func whole(first []byte, lines *lines, each func(document) error) error {
	line := lines.number
	rest, err := io.ReadAll(io.LimitReader(lines.r, MaxDocument+1))
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	all := append(append(bytes.Clone(first), '\n'), rest...)
	if len(all) > MaxDocument {
		return fmt.Errorf("the JSON document has more than %d MiB: split it, or give its entries one a line", MaxDocument>>20)
	}
	if err := encoding(all); err != nil {
		valid := 0
		for r, n := utf8.DecodeRune(all); r != utf8.RuneError || n > 1; r, n = utf8.DecodeRune(all[valid:]) {
			valid += n
		}
		return fmt.Errorf("line %d: %w", line+bytes.Count(all[:valid], []byte("\n")), err)
	}
	dec := json.NewDecoder(bytes.NewReader(all))
	for several := false; ; several = true {
		var raw json.RawMessage
		start := dec.InputOffset()
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", line+bytes.Count(all[:faultOffset(all, start, err)], []byte("\n")), explain(err))
		}
		doc := document{raw: raw}
		if several || dec.More() {
			doc.at = fmt.Sprintf("line %d", line+bytes.Count(all[:dec.InputOffset()-int64(len(raw))], []byte("\n")))
		}
		if err := each(doc); err != nil {
			return err
		}
	}
}

// faultOffset returns where in all a value from start on stops being JSON.
func faultOffset(all []byte, start int64, err error) int64 {
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		return min(max(syn.Offset-1, 0), int64(len(all)))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return int64(len(all))
	}
	return start
}

func explain(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends before it is complete: the file seems cut off")
	}
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		return fmt.Errorf("this is not JSON: %w", err)
	}
	return err
}

// syntax says what is wrong with a line.
func syntax(line []byte) error {
	if err := encoding(line); err != nil {
		return err
	}
	var raw json.RawMessage
	err := json.Unmarshal(line, &raw)
	if syn := new(json.SyntaxError); errors.As(err, &syn) && syn.Offset >= int64(len(line)) {
		err = io.ErrUnexpectedEOF
	}
	return explain(err)
}

func encoding(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("these are not characters of UTF-8: convert the file to UTF-8")
	}
	return nil
}

// lines reads a file line by line; it counts from 1, and passes empty ones over.
type lines struct {
	r      *bufio.Reader
	number int
}

func newLines(r io.Reader) *lines {
	br := bufio.NewReaderSize(r, 64<<10)
	if bom, err := br.Peek(3); err == nil && bytes.Equal(bom, []byte("\uFEFF")) {
		_, _ = br.Discard(len(bom))
	}
	return &lines{r: br}
}

// next returns the next line with something in it, or io.EOF. The line is the
// caller's.
func (l *lines) next() ([]byte, error) {
	for {
		line, err := l.read()
		if line = bytes.TrimSpace(line); len(line) > 0 && (err == nil || errors.Is(err, io.EOF)) {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (l *lines) read() ([]byte, error) {
	l.number++
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > MaxDocument:
			return nil, fmt.Errorf("line %d has more than %d MiB: split it", l.number, MaxDocument>>20)
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, errors.Is(err, io.EOF):
			return line, err
		default:
			return nil, fmt.Errorf("reading line %d: %w", l.number, err)
		}
	}
}
