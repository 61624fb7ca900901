// Package netns makes network namespaces in which nothing but the loopback
// device exists, and that the programs of one environment share. Through one
// socket, which listens in the namespace and is held by the runtime, they reach
// the runtime's proxy; no device leads out. It owns how such a namespace is made
// and joined, and knows nothing of what runs in it. It needs Linux.
//
// A namespace is made by a helper process (package reexec): the runtime's own
// program, started in the new namespace. The helper hands the namespace over as open files and ends, so a namespace costs no process and no
// memory but the kernel's, and goes when the runtime goes, however that ends,
// with the last program in it.
package netns

import "github.com/stayd/stayd/internal/environment/reexec"

// Address is where the programs of a namespace reach the runtime.
const Address = reexec.Address

// Config says how a namespace is to be made.
type Config struct {
	// Helper is the command line of the helper.
	Helper []string
	// Listen asks for a listener on Address in the namespace.
	Listen bool
}
