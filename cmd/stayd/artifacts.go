package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/spf13/cobra"
)

func newSessionsArtifacts() *cobra.Command {
	var asJSON bool
	var save string
	cmd := &cobra.Command{
		Use:   "artifacts ID",
		Short: "List the files that a session published, and save them",
		Long: `List the files that a session published: what its agent wrote to
/workspace/artifacts, as it was when each turn completed.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "PATH", "BYTES", "TURN", "PUBLISHED")
				for a, err := range rt.Artifacts(ctx, args[0]) {
					if err != nil {
						return errors.Join(err, t.flush())
					}
					t.row(a.RawJSON(), a.ID, a.Path, a.SizeBytes, a.TurnID, since(a.CreatedAt))
					if save == "" {
						continue
					}
					if err := saveArtifact(ctx, rt, args[0], &a, save); err != nil {
						return err
					}
				}
				return t.flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().StringVar(&save, "save", "", "folder to save them to, the latest of each path")
	addRuntimeFlags(cmd)
	return cmd
}

// saveArtifact writes an artifact below a folder. Names that an agent chose do
// not lead out of it.
func saveArtifact(ctx context.Context, rt *runtime, session string, a *openai.SessionArtifact, dir string) (err error) {
	content, err := rt.Artifact(ctx, session, a.ID)
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // it was only read
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	name := filepath.FromSlash(strings.TrimPrefix(a.Path, "/workspace/artifacts/"))
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("save %s: %w", a.Path, err)
	}
	f, err := root.Create(name)
	if err != nil {
		return fmt.Errorf("save %s: %w", a.Path, err)
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
