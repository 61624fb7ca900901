package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/vault/keyfile"
	"github.com/stayd/stayd/internal/vault/masters"
)

func newVaultsKey() *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "Print a new set of master keys, to be kept in a file or a variable",
		Long: `Print a new set of master keys with one key in it, to be kept in a file that only
the server reads, or in a variable. Whoever has it and the store can read all secrets;
without it nobody can.`,
		Example: "  (umask 077 && stayd vaults key > /etc/stayd/vault.keys)",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := keyfile.Generate()
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func newVaultsRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Rotate the master key, while the server serves",
		Long: `Put a new master key into the file of keys, have the server encrypt the keys of all
vaults under it, and take the old key out of the file when nothing needs it any more.
Where this is interrupted, the next one goes on. It needs the file: run it where the
server runs, as the same user. A backup of the store from before needs the old key:
keep a copy of the file with it.

Keys in a variable or in AWS KMS are rotated where they are. Then this only has the
keys of vaults encrypted under the current one.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			place, err := placeOfKeys(cmd)
			if err != nil {
				return err
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error { return rotate(ctx, rt, place.File(), cmd.OutOrStdout()) })
		},
	}
	addRuntimeFlags(cmd)
	return cmd
}

// placeOfKeys is where the server has its master keys, by the same settings as
// its own.
func placeOfKeys(cmd *cobra.Command) (masters.Place, error) {
	cfg, err := loadConfig(cmd.Flags(), os.Getenv)
	if err != nil {
		return masters.Place{}, err
	}
	return cfg.VaultKeys(), nil
}

func rotate(ctx context.Context, rt *runtime, file string, out io.Writer) error {
	if file == "" {
		done, err := rewrap(ctx, rt)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s under the master key %s, %d of them anew\n", vaultKeys(done.Keys), done.MasterKey, done.Moved)
		return err
	}
	rot, err := keyfile.Rotate(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; run this where the server runs, with the same --data and --vault-key", err)
	}
	if err != nil {
		return err
	}
	done, err := rewrap(ctx, rt)
	if err != nil {
		return fmt.Errorf("the old master key is kept, and nothing is lost; run this again: %w", err)
	}
	if done.MasterKey != rot.Current {
		return fmt.Errorf("the server encrypts under the master key %s, and %s has %s as its current one: give the server this file, or name the one that it uses; the old key is kept", done.MasterKey, file, rot.Current)
	}
	for _, old := range rot.Old {
		if _, err := keyfile.Drop(file, old); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s under the new master key %s; %s is gone\n", vaultKeys(done.Keys), rot.Current, strings.Join(rot.Old, ", "))
	return err
}

// rewrap has all keys of vaults encrypted under the current master key. That some
// cannot be is an error.
func rewrap(ctx context.Context, rt *runtime) (*client.RewrappedKeys, error) {
	done, err := rt.RewrapVaultKeys(ctx)
	if err != nil {
		return nil, err
	}
	if len(done.Left) > 0 {
		lost := slices.Sorted(maps.Keys(done.Left))
		return nil, fmt.Errorf("some keys of vaults are under master keys that the server does not have: %s; give it the keys that it had before", strings.Join(lost, ", "))
	}
	return done, nil
}

// vaultKeys counts keys in words.
func vaultKeys(n int) string {
	switch n {
	case 0:
		return "no key of a vault is"
	case 1:
		return "the key of 1 vault is"
	}
	return fmt.Sprintf("the keys of %d vaults are", n)
}
