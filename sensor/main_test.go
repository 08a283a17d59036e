package sensor

import (
	"os"
	"testing"

	"github.com/netview-project/netview/internal/testbin"
)

func TestMain(m *testing.M) {
	if os.Getenv("NETVIEW_TEST_HEIR") != "" {
		takeOver()
		return
	}
	testbin.Main(m)
}
