package environmenttest

import "testing"

// testCommand checks what run_command has in common with the other tools: the
// same workspace under the same name.
func testCommand(t *testing.T, s *Session) {
	t.Helper()
	if !s.Has(t, "run_command") {
		s.Fails(t, "run_command", Args{"command": "true"}, "run_command")
		return
	}
	equal(t, "a given file", s.OK(t, "run_command", Args{"command": "cat /workspace/given.txt"}), "given\n")
	s.OK(t, "run_command", Args{"command": "echo from a command > made.txt"})
	equal(t, "what a command wrote", s.OK(t, "read_file", Args{"path": "made.txt"}), "from a command\n")
	s.OK(t, "run_code", Args{"code": "fs.writeFile('coded.txt', 'from code')"})
	equal(t, "what code wrote", s.OK(t, "run_command", Args{"command": "cat coded.txt"}), "from code")
	equal(t, "where it runs", s.OK(t, "run_command", Args{"command": "pwd", "cwd": "in/deep"}), "/workspace/in/deep\n")
	equal(t, "the environment", s.OK(t, "run_command", Args{"command": "echo $GREETING $HOME"}), "hello /workspace\n")
	s.Exits(t, "run_command", Args{"command": "exit 3"}, 3)
}
