package property

import (
	"flag"
	"os"
	"testing"
)

// TestMain plays more schedules than rapid does by default, unless the command line has a
// number.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "1000"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
