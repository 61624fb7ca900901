package main

import "github.com/spf13/cobra"

// memoryBenchCommand has the measurements of long-term memory below it.
func memoryBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure long-term memory: how well it finds, and how fast",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMemoryLocomo(), memorySearchBenchCommand())
	return cmd
}
