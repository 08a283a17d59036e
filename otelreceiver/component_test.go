package otelreceiver

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

func loadMetadata(t *testing.T) *confmap.Conf {
	t.Helper()
	conf, err := confmaptest.LoadConf("metadata.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func section(t *testing.T, conf *confmap.Conf, key string) *confmap.Conf {
	t.Helper()
	sub, err := conf.Sub(key)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// TestLifecycle is what the Collector's generator writes for every component.
func TestLifecycle(t *testing.T) {
	factory := NewFactory()
	conf := loadMetadata(t)
	if factory.Type() != component.MustNewType(conf.Get("type").(string)) {
		t.Errorf("the type is %v", factory.Type())
	}
	if stability := strings.ToLower(factory.LogsStability().String()); section(t, conf, "status::stability").Get(stability) == nil {
		t.Errorf("the stability %s is not that of metadata.yaml", stability)
	}
	if err := componenttest.CheckConfigStruct(factory.CreateDefaultConfig()); err != nil {
		t.Error(err)
	}
	config := factory.CreateDefaultConfig()
	if err := section(t, conf, "tests::config").Unmarshal(config); err != nil {
		t.Fatal(err)
	}
	settings := receivertest.NewNopSettings(metadata.Type)
	unstarted, err := factory.CreateLogs(context.Background(), settings, config, consumertest.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := unstarted.Shutdown(context.Background()); err != nil {
		t.Errorf("shutdown without a start: %v", err)
	}
	for range 2 { // the second proves that the first left nothing behind
		r, err := factory.CreateLogs(context.Background(), settings, config, consumertest.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Start(context.Background(), componenttest.NewNopHost()); err != nil {
			t.Fatal(err)
		}
		if err := r.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOwnTelemetry holds the receiver's metrics against metadata.yaml: each has
// the name, unit and description that stand there, and starts with every series.
func TestOwnTelemetry(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	send(t, r, snapshot(1, time.Now()))
	conf := loadMetadata(t)
	metrics := section(t, conf, "telemetry::metrics").ToStringMap()
	for name, stated := range metrics {
		stated := confmap.NewFromStringMap(stated.(map[string]any))
		got, err := r.telemetry.GetMetric(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Unit != stated.Get("unit") || got.Description != stated.Get("description") {
			t.Errorf("%s has unit %q and description %q, metadata.yaml has %q and %q", name, got.Unit, got.Description, stated.Get("unit"), stated.Get("description"))
		}
		switch data := got.Data.(type) {
		case metricdata.Sum[int64]:
			if data.IsMonotonic != stated.Get("sum::monotonic") {
				t.Errorf("%s: monotonic is %t", name, data.IsMonotonic)
			}
			names, _ := stated.Get("attributes").([]any)
			if len(names) == 0 {
				continue
			}
			key := names[0].(string)
			var values []any
			for _, point := range data.DataPoints {
				value, _ := point.Attributes.Value("")
				for _, kv := range point.Attributes.ToSlice() {
					if string(kv.Key) == key {
						value = kv.Value
					}
				}
				values = append(values, value.AsString())
			}
			enum := section(t, conf, "attributes::"+key).Get("enum").([]any)
			byText := func(a, b any) int { return strings.Compare(a.(string), b.(string)) }
			slices.SortFunc(values, byText)
			slices.SortFunc(enum, byText)
			if !slices.Equal(values, enum) {
				t.Errorf("%s has %s %v, metadata.yaml has %v", name, key, values, enum)
			}
		case metricdata.Histogram[float64]:
			bounds := stated.Get("histogram::bucket_boundaries").([]any)
			if len(data.DataPoints) != 1 || len(data.DataPoints[0].Bounds) != len(bounds) {
				t.Errorf("%s: %+v, want the bounds %v", name, data.DataPoints, bounds)
			}
		default:
			t.Errorf("%s is a %T", name, got.Data)
		}
	}
	text, err := os.ReadFile("internal/metadata/metadata.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `("netview_receiver_`); n != len(metrics) {
		t.Errorf("the receiver makes %d instruments, metadata.yaml has %d", n, len(metrics))
	}
}

// TestReadmeHasEveryKey: README.md has every key of the configuration with the
// default that it has, and no other.
func TestReadmeHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	stated := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_:]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(text), -1) {
		stated[row[1]] = row[2]
	}
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for field, value := range v.Fields() {
			key := prefix + field.Tag.Get("mapstructure")
			// The keys of the protocols are the Collector's.
			if value.Kind() == reflect.Struct && !strings.HasPrefix(key, "protocols::") {
				walk(key+"::", value)
				continue
			}
			says, ok := stated[key]
			delete(stated, key)
			if !ok {
				t.Errorf("README.md has no row for the key %s", key)
			}
			duration, isDuration := value.Interface().(time.Duration)
			if literal := strings.Trim(says, "`"); isDuration {
				if got, err := time.ParseDuration(literal); err != nil || got != duration {
					t.Errorf("README.md has %s as the default of %s, which is %v", says, key, duration)
				}
			} else if value.Kind() != reflect.String && value.Kind() != reflect.Struct || key == "clickhouse::database" {
				if literal != fmt.Sprint(value.Interface()) {
					t.Errorf("README.md has %s as the default of %s, which is %v", says, key, value.Interface())
				}
			}
		}
	}
	config := createDefaultConfig().(*Config)
	walk("", reflect.ValueOf(*config))
	for key := range stated {
		t.Errorf("README.md has the key %s, the configuration has not", key)
	}
	grpc, http := config.Protocols.GRPC.GetOrInsertDefault(), config.Protocols.HTTP.GetOrInsertDefault()
	for _, want := range []string{
		fmt.Sprintf("endpoint `%s`, `max_recv_msg_size_mib` %d, `max_concurrent_streams` %d |", grpc.NetAddr.Endpoint, grpc.MaxRecvMsgSizeMiB, grpc.MaxConcurrentStreams),
		fmt.Sprintf("endpoint `%s`, `max_request_body_size` %d MiB, `compression_algorithms` %s |", http.NetAddr.Endpoint, http.MaxRequestBodySize>>20, strings.Join(http.CompressionAlgorithms[1:], ", ")),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("README.md does not have the defaults %q", want)
		}
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	const good = "clickhouse://u:hunter2@h:9000"
	tests := []struct {
		key    string // set in a good configuration
		value  any
		quotes []string // in the error; nothing for no error
	}{
		{"max_in_flight_mib", 64, nil},
		{"max_in_flight_mib", 0, []string{"max_in_flight_mib", "0", "at least 1"}},
		{"max_in_flight_mib", 3, []string{"max_recv_msg_size_mib", "max_request_body_size", "max_in_flight_mib, 3"}},
		{"protocols::grpc::max_recv_msg_size_mib", 0, []string{"protocols::grpc::max_recv_msg_size_mib", "0"}},
		{"max_clock_skew", "1ms", []string{"max_clock_skew", "1ms", "at least 1s"}},
		{"max_clock_skew", "soon", []string{"max_clock_skew", "duration"}},
		{"max_sensors", 0, []string{"max_sensors", "0", "at least 1"}},
		{"identity::uri_prefix", "sensor", []string{"identity::uri_prefix", "sensor", "netview://sensor/"}},
		{"clickhouse::dsn", "", []string{"clickhouse::dsn", "required", "NETVIEW_CLICKHOUSE_DSN"}},
		{"clickhouse::dsn", "mysql://u:hunter2@h", []string{"clickhouse::dsn", "clickhouse://USER"}},
		{"clickhouse::schema::dsn", "hunter2", []string{"clickhouse::schema::dsn", "clickhouse://USER"}},
		{"clickhouse::database", "a-b", []string{"clickhouse::database", "a-b"}},
		{"clickhouse::commit_interval", "-1s", []string{"clickhouse::commit_interval", "-1s"}},
		{"clickhouse::commit_timeout", "0s", []string{"clickhouse::commit_timeout", "0s", "1s"}},
		{"clickhouse::max_commit_rows", 0, []string{"clickhouse::max_commit_rows", "0"}},
		{"clickhouse::retention::heartbeats", "1s", []string{"clickhouse::retention::heartbeats", "1s", "1m"}},
		{"clickhouse::retention::quarantine", "0s", []string{"clickhouse::retention::quarantine"}},
		{"clickhouse::retenion", "1h", []string{"retenion"}},
		{"protocols::grpc::endpoint", "127.0.0.1", []string{"protocols::grpc::endpoint", "127.0.0.1", "host:port"}},
		{"protocols::http::endpoint", "", []string{"protocols::http::endpoint", "host:port"}},
		{"protocols", map[string]any{}, nil},
		{"protocols", map[string]any{"grpc": nil}, nil},
	}
	for _, tt := range tests {
		conf := confmap.NewFromStringMap(map[string]any{"clickhouse::dsn": good, "protocols::grpc": nil, "protocols::http": nil, tt.key: tt.value})
		config := createDefaultConfig()
		err := conf.Unmarshal(config)
		if err == nil {
			err = confmap.Validate(config)
		}
		if (err == nil) != (tt.quotes == nil) {
			t.Errorf("%s: %v gives %v", tt.key, tt.value, err)
			continue
		}
		for _, quote := range append(tt.quotes, "") {
			if err != nil && (!strings.Contains(err.Error(), quote) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("%s: %v gives %q, want it to name %q and no password", tt.key, tt.value, err, quote)
			}
		}
	}
}

// TestWithoutClickHouse: the collector starts, says so, accepts nothing, and
// recovers by itself.
func TestWithoutClickHouse(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill()
	r := startReceiver(t, testConfig(t, ch), consumertest.NewNop())
	away := r.host.until(t, componentstatus.StatusRecoverableError)
	if !strings.Contains(away.Err().Error(), "ClickHouse") {
		t.Errorf("the status says %v", away.Err())
	}
	for _, records := range []int{0, 5} {
		if code, _ := r.export(snapshot(records, time.Now())); code.String() != "Unavailable" {
			t.Errorf("%d records were answered with %v", records, code)
		}
	}
	ch.Restart()
	r.host.until(t, componentstatus.StatusOK)
	send(t, r, snapshot(5, time.Now()))
	if n := count(t, ch, "SELECT count() FROM netview.snapshot_connections"); n != 5 {
		t.Errorf("%d connections stored, want 5", n)
	}
}

func TestTakenPortNamesTheKey(t *testing.T) {
	config := testConfig(t, nil)
	startReceiver(t, config, consumertest.NewNop())
	for _, key := range []string{"grpc", "http"} {
		second := testConfig(t, nil)
		if key == "grpc" {
			second.Protocols.GRPC = config.Protocols.GRPC
		} else {
			second.Protocols.HTTP = config.Protocols.HTTP
		}
		r, err := NewFactory().CreateLogs(context.Background(), receivertest.NewNopSettings(metadata.Type), second, consumertest.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Start(context.Background(), componenttest.NewNopHost()); err == nil || !strings.Contains(err.Error(), "protocols::"+key+"::endpoint") {
			t.Errorf("a taken %s port gives %v", key, err)
		}
	}
}
