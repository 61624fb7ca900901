package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

func newChat() *cobra.Command {
	var w who
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Talk with an agent",
		Long: `Talk with an agent, one message a line, until an empty line's Ctrl-D or /quit.
The session stays; --session goes on with it.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				o := newOutput(cmd, false)
				if o.person == nil {
					o.person = newPerson(cmd.InOrStdin(), io.Discard)
				}
				return chat(ctx, rt, &w, o)
			})
		},
	}
	w.register(cmd)
	return cmd
}

func chat(ctx context.Context, rt *runtime, w *who, o output) error {
	for {
		line, err := o.person.ask(ctx, "\n> ")
		switch {
		case errors.Is(err, io.EOF) || line == "/quit":
			if w.session != "" {
				fmt.Fprintf(os.Stderr, "go on with: stayd chat --session %s\n", w.session)
			}
			return nil
		case err != nil:
			return err
		case line == "":
			continue
		}
		if err := exchange(ctx, rt, w, line, o); err != nil {
			return err
		}
	}
}

// exchange says one thing and shows the answer. A turn that fails does not end
// the conversation.
func exchange(ctx context.Context, rt *runtime, w *who, line string, o output) error {
	f, events, err := begin(ctx, rt, w, line, o)
	if err != nil {
		return err
	}
	w.session, w.file, w.model, w.env, w.vaults = f.session, "", "", "", nil
	err = f.run(ctx, events)
	if code := exitCode(err); err != nil && (code == exitPerson || ctx.Err() != nil || client.Status(err) != 0) {
		return err
	} else if err != nil && !errors.As(err, new(*quiet)) {
		f.printer.Line(show.Bad, "%s", client.Message(err))
	}
	return nil
}
