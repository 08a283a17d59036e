package sensor

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("NETVIEW_TEST_HEIR") != "" {
		takeOver()
		return
	}
	os.Exit(m.Run())
}
