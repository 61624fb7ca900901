// Package embed is the contract of turning text into vectors, and the form in
// which vectors are kept. Its children are the ways to do it: static needs
// nothing, openai and bedrock ask a model by its endpoint. Package embedtest is
// the suite that all of them pass.
package embed

import "context"

// Embedder turns texts into vectors. Texts that mean alike get vectors with a
// large dot product. It is safe for use by several goroutines.
type Embedder interface {
	// Model names what makes the vectors, with its version and their dimension, as
	// in static/1@100. Vectors of different names are not comparable. It never
	// changes.
	Model() string
	// Embed returns a vector for each text, in order, each of the dimension in the
	// name and of length 1; or of length 0 where the text says nothing to the
	// model. The vectors are the caller's. It gives all of them or an error.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}
