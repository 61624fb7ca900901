//go:build !linux

package index

// large does nothing where there is no such way to ask for large pages.
func large([]byte) {}
