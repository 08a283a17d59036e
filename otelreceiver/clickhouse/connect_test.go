package clickhouse

import (
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// oldServer stands for a ClickHouse of a version that cannot be had here.
type oldServer struct {
	driver.Conn
	version string
}

func (s oldServer) ServerVersion() (*driver.ServerVersion, error) {
	return &driver.ServerVersion{Version: proto.ParseVersion(s.version)}, nil
}

func TestServerVersion(t *testing.T) {
	for version, good := range map[string]bool{"22.12.9": false, "23.1.0": true, "26.7.2": true} {
		_, err := checkServer(oldServer{version: version})
		if (err == nil) != good {
			t.Errorf("ClickHouse %s: %v", version, err)
		}
		if err != nil && (!strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "23.1")) {
			t.Errorf("ClickHouse %s: the error %q does not name it and what is needed", version, err)
		}
	}
}
