package crashtest

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/crashtest/outside"
	"github.com/stayd/stayd/internal/pgtest"
)

var (
	kills   = flag.Int("kills", 15, "how often TestCrash kills the server, for each store")
	stores  = flag.String("store", "sqlite,postgres", "the stores of TestCrash")
	clients = flag.Int("clients", 12, "how many clients TestCrash has at a time")
	seed    = flag.Uint64("seed", 0, "of what TestCrash leaves to chance; 0 is a new one")
	program = flag.String("binary", "", "the stayd that TestCrash kills; empty builds it")
	summary = flag.String("json", "", "file to which TestCrash adds its report, as one line of JSON for each store")
	keep    = flag.String("keep", "", "folder that TestCrash leaves its data and logs in")
)

// TestMain is the outside where the environment says so: it is a process of its
// own, which nobody kills. Or it is the process of TestMemoryWrites that is killed.
func TestMain(m *testing.M) {
	if os.Getenv(outside.EnvLedger) != "" {
		os.Exit(outside.Main())
	}
	if job := os.Getenv(envMemory); job != "" {
		fmt.Fprintln(os.Stderr, writeMemories(job, os.Stdout))
		os.Exit(1)
	}
	// The sweeps wait more than they work. What the command line says goes before.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestCrash kills a server under load with SIGKILL, over and over, and expects
// that nothing was done twice, nothing acknowledged was lost, every session came
// to its end and every log is whole. make crash runs it at full size.
func TestCrash(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	bin := *program
	if bin == "" {
		bin = build(t)
	}
	for _, store := range strings.Split(*stores, ",") {
		t.Run(store, func(t *testing.T) {
			switch store {
			case "sqlite":
				crash(t, bin, store, "", nil)
			case "postgres":
				c := pgtest.NewCluster(t)
				crash(t, bin, store, c.Database(t, "crashtest"), func() {
					c.Crash(t)
					c.Start(t)
				})
			default:
				t.Fatalf("there is no store %q", store)
			}
		})
	}
}

func crash(t *testing.T, bin, store, url string, crashStore func()) {
	t.Helper()
	dir := t.TempDir()
	if *keep != "" {
		dir = filepath.Join(*keep, store)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	scripts, err := filepath.Abs("testdata/scripts")
	if err != nil {
		t.Fatal(err)
	}
	ledger := filepath.Join(dir, "ledger")
	report, faults, err := Run(t.Context(), Config{
		Binary: bin, Scripts: scripts, Dir: dir, Store: url, World: startOutside(t, ledger), Ledger: ledger,
		Kills: *kills, Clients: *clients, Seed: *seed, Settle: 2 * time.Minute, CrashStore: crashStore,
	})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "server.log"))
		t.Fatalf("seed %d: %v\n%s", *seed, err, tail(string(log)))
	}
	t.Log(report)
	for i, f := range faults {
		if i == 50 {
			t.Errorf("and %d more", len(faults)-i)
			break
		}
		t.Error(f)
	}
	if report.Kills != *kills || report.Sessions == 0 || report.Effects[outside.Pay] == 0 {
		t.Errorf("the run did not do what it is there to do: %s", report)
	}
	if *summary != "" {
		write(t, report)
	}
}

func tail(s string) string {
	const most = 4000
	return s[max(0, len(s)-most):]
}

func write(t *testing.T, report *Report) {
	t.Helper()
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(*summary, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// build builds the server once.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "stayd")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/stayd/stayd/cmd/stayd")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	return bin
}

// startOutside starts the outside, which ends with the test. It returns the URL
// of its MCP server.
func startOutside(t *testing.T, ledger string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), outside.EnvLedger+"="+ledger)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("the outside: %v", err)
		}
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the outside did not start: %v", err)
	}
	return strings.TrimSpace(url)
}
