// Package reexec is what a program that has it becomes when it is run again with
// Argument: the helper of sandboxes. Without more arguments the helper hands the
// network namespace over in which it was started. In a sandbox, it is given the
// numbers of descriptors, its gate and the entrances of control groups: it confines
// itself by Landlock and becomes the program that it is told of, in these groups.
//
// A command waits for the helper to start, and a large program takes ten times as
// long to set up its packages as the helper takes for all else. So the helper does
// its work, and ends, while this package is initialised. It imports little, so that
// this comes early; nothing but the time that it takes depends on that. It needs Linux.
package reexec

// Argument is the first argument of the helper.
const Argument = "sandbox-helper"

// Address is where the helper listens in a network namespace.
const Address = "127.0.0.1:3128"

// Ready is the message with which the helper hands over a network namespace: the
// listener, the network namespace and the user namespace. Any other is the text
// of an error.
const Ready = "ready"
