package main

import (
	"strings"
	"testing"
)

// TestArguments: a password on the command line is refused, and not repeated.
func TestArguments(t *testing.T) {
	for argument, good := range map[string]bool{
		"--set=receivers.netview.clickhouse.dsn=clickhouse://u:hunter2@h:9000":             false,
		"--set=receivers.netview.clickhouse.dsn=http://h:8123?username=u&password=hunter2": false,
		"yaml:receivers::netview::clickhouse::dsn: 'clickhouse://u:hunter2@h:9000'":        false,
		"--set=receivers.netview.clickhouse.dsn=clickhouse://u@h:9000":                     true,
		"--set=receivers.netview.clickhouse.dsn=clickhouse://u:${env:PASSWORD}@h:9000":     true,
		"--set=receivers.netview.clickhouse.dsn=${env:NETVIEW_CLICKHOUSE_DSN}":             true,
		"--config=/etc/netview/collector.yaml":                                             true,
	} {
		err := checkArguments([]string{"--config", "x", argument})
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s gives %v", argument, err)
		}
	}
}
