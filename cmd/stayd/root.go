package main

import (
	"github.com/spf13/cobra"
)

const rootHelp = `Stayd is a stateful runtime for AI agents: sessions that remember what they did,
call tools, and survive crashes without doing anything twice.

  stayd demo                   see it work, and be killed half-way
  stayd run "task"             give an agent a task
  stayd serve                  answer requests of the HTTP API

A command asks the server that --server or STAYD_SERVER names, else the one that
runs on the data folder, else a runtime that it opens in its own process.

Exit codes:
  0    done
  1    the turn failed, or another error
  2    the command line or the configuration is wrong
  3    the store is in use by another process
  4    a person has to decide before it goes on
  5    a log or a receipt does not verify
  130  cancelled`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "stayd",
		Short:         "A stateful runtime for AI agents",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &coded{code: exitUsage, err: err} })
	root.AddGroup(
		&cobra.Group{ID: "work", Title: "Work:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "operate", Title: "Operate:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("work", newDemo(), newRun(), newChat(), newAgents())
	add("look", newSessions(), newDoctor(), newVersion(), newWhoami())
	add("operate", newServe(), newKeys(), newIdentity(), newLogin(), newLogout(), newExec(), newMemory(), newVaults(), newBench())
	root.AddCommand(newMCPDemo())
	return root
}

// args refuses a wrong number of arguments with exitUsage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &coded{code: exitUsage, err: err}
		}
		return nil
	}
}
