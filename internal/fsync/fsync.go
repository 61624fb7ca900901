// Package fsync makes the names in a folder durable, which is another thing than
// that what has the names is.
package fsync

import "fmt"

// Folder returns when the names in the folder are durable, as far as the system
// lets a program wait for that.
func Folder(path string) error {
	if err := folder(path); err != nil {
		return fmt.Errorf("make the names in %s durable: %w", path, err)
	}
	return nil
}
