package otelreceiver

import (
	"os"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/confmap"
)

// FuzzConfig: a configuration is refused or good; the error has no password.
func FuzzConfig(f *testing.F) {
	sample, err := os.ReadFile("../deploy/collector-tls.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte("protocols: {grpc: , http: {endpoint: 1}}\nclickhouse: {dsn: \"clickhouse://u:hunter2@h:9000\", retention: {events: -1s}}\nmax_sensors: 0"))
	f.Add([]byte("protocols: {grpc: {tls: {client_ca_file: x}}}\nidentity: {uri_prefix: \"%zz\"}\nclickhouse: {dsn: \"x://u:hunter2@\"}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		retrieved, err := confmap.NewRetrievedFromYAML(text)
		if err != nil {
			return
		}
		conf, err := retrieved.AsConf()
		if err != nil {
			return
		}
		config := createDefaultConfig()
		if err = conf.Unmarshal(config); err == nil {
			err = confmap.Validate(config)
			if err != nil && strings.Contains(err.Error(), "hunter2") && strings.Contains(string(config.(*Config).ClickHouse.DSN), ":hunter2@") {
				t.Errorf("the error has the password: %v", err)
			}
		}
	})
}

// FuzzAccess: an access file is refused, or lets in nobody who is not in it.
func FuzzAccess(f *testing.F) {
	f.Add([]byte("sensors: [web-1, \"db-*\"]\nrevoked: [\"0A:ff\"]\nrelays: {netview://relay/x: [\"*\"]}"), "web-1")
	f.Add([]byte("sensors: []"), "a")
	f.Add([]byte("sensors: &a [*a]"), "a")
	f.Fuzz(func(t *testing.T, text []byte, sensorID string) {
		a, err := parseAccess(text)
		if err != nil || a.sensors == nil || !a.sensors.has(sensorID) {
			return
		}
		for end := range len(sensorID) + 1 {
			if strings.Contains(string(text), sensorID[:end]+"*") || strings.Contains(string(text), sensorID) {
				return
			}
		}
		// YAML has escapes, and lists by name: what is let in must at least be a name.
		if !strings.ContainsAny(string(text), "\\*") {
			t.Errorf("%q is let in by %q", sensorID, text)
		}
	})
}
