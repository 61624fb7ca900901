//go:build unix

package fsync

import (
	"errors"
	"os"
)

func folder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
