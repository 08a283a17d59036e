package otelreceiver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testca"
	"github.com/netview-project/netview/internal/testch"
)

// guarded is a receiver that asks for client certificates.
type guarded struct {
	*running
	t      *testing.T
	ca     *testca.CA
	roots  *x509.CertPool
	access string // the file
}

func startGuarded(t *testing.T, ch *testch.Server, access string) *guarded {
	t.Helper()
	dir := t.TempDir()
	g := &guarded{t: t, ca: testca.New(t, dir, "ca"), roots: x509.NewCertPool(), access: filepath.Join(dir, "access.yaml")}
	g.roots.AddCert(g.ca.Certificate)
	g.ca.Issue("server", "127.0.0.1")
	g.allow(access)
	config := testConfig(t, ch)
	secure := reloadedTLS()
	secure.CertFile, secure.KeyFile, secure.ClientCAFile = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), filepath.Join(dir, "ca.crt")
	config.Protocols.GRPC.Get().TLS = configoptional.Some(secure)
	config.Protocols.HTTP.Get().TLS = configoptional.Some(secure)
	config.Identity.AccessFile = g.access
	g.running = startReceiver(t, config, consumertest.NewNop())
	g.host.until(t, componentstatus.StatusOK)
	g.http = strings.Replace(g.http, "http://", "https://", 1)
	return g
}

func (g *guarded) allow(text string) {
	g.t.Helper()
	if err := os.WriteFile(g.access, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// dial keeps one connection of gRPC and one of HTTP open, with a certificate.
func (g *guarded) dial(certificate tls.Certificate) *dialed {
	g.t.Helper()
	config := &tls.Config{RootCAs: g.roots, Certificates: []tls.Certificate{certificate}}
	conn, err := grpc.NewClient(g.grpc, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		g.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
	g.t.Cleanup(func() { conn.Close(); transport.CloseIdleConnections() })
	return &dialed{g, plogotlp.NewGRPCClient(conn), &http.Client{Transport: transport}}
}

type dialed struct {
	g    *guarded
	grpc plogotlp.GRPCClient
	http *http.Client
}

func recordsOf(sensorIDs ...string) plogotlp.ExportRequest {
	all := plog.NewLogs()
	for _, id := range sensorIDs {
		events := snapshot(1, time.Now())
		for _, e := range events {
			e.Env().SensorID = id
		}
		event.Encode(events).ResourceLogs().MoveAndAppendTo(all.ResourceLogs())
	}
	return plogotlp.NewExportRequestFromLogs(all)
}

// send sends records of sensors by both protocols. The answers must be the same;
// at the moment at which who may send changes they are not, which is an error of
// its own.
func (d *dialed) send(sensorIDs ...string) error {
	d.g.t.Helper()
	response, err := d.grpc.Export(context.Background(), recordsOf(sensorIDs...))
	if err == nil && response.PartialSuccess().RejectedLogRecords() != 0 {
		d.g.t.Fatalf("records are rejected: %s", response.PartialSuccess().ErrorMessage())
	}
	body, marshalErr := recordsOf(sensorIDs...).MarshalProto()
	if marshalErr != nil {
		d.g.t.Fatal(marshalErr)
	}
	want := http.StatusOK
	if status.Code(err) == codes.PermissionDenied {
		want = http.StatusForbidden
	} else if err != nil {
		d.g.t.Fatal(err)
	}
	answer, postErr := d.http.Post(d.g.http, protobufType, bytes.NewReader(body))
	if postErr != nil {
		d.g.t.Fatal(postErr)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != want {
		return fmt.Errorf("gRPC answers %v, HTTP %s %q", err, answer.Status, text)
	}
	return err
}

// denied waits until sending is refused for a reason, which must come within
// seconds, on the connections that are open.
func (d *dialed) denied(quote string, sensorIDs ...string) {
	d.g.t.Helper()
	testbin.Eventually(d.g.t, 20*time.Second, func() string {
		if err := d.send(sensorIDs...); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), quote) {
			return fmt.Sprintf("sending of %v gives %v, want a refusal with %q", sensorIDs, err, quote)
		}
		return ""
	})
}

func (d *dialed) taken(sensorIDs ...string) {
	d.g.t.Helper()
	testbin.Eventually(d.g.t, 20*time.Second, func() string {
		if err := d.send(sensorIDs...); err != nil {
			return fmt.Sprintf("sending of %v gives %v", sensorIDs, err)
		}
		return ""
	})
}

// sum is a counter of the receiver, all of it or that of one value of a label.
func (r *running) sum(t *testing.T, name, value string) (n int64) {
	t.Helper()
	m, err := r.telemetry.GetMetric(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
		for _, kv := range point.Attributes.ToSlice() {
			if kv.Value.AsString() == value {
				n += point.Value
			}
		}
		if value == "" {
			n += point.Value
		}
	}
	return n
}

const sensorURI = "netview://sensor/"

// TestASensorSpeaksForItselfOnly: the certificate says who sends, on either
// protocol, and a relay speaks for those that are listed.
func TestASensorSpeaksForItselfOnly(t *testing.T) {
	ch := testch.Start(t)
	hour := time.Now().Add(time.Hour)
	g := startGuarded(t, ch, "relays:\n  netview://relay/gateway: [\"web-*\", db]\n")
	own := g.dial(g.ca.IssueURI("own", sensorURI+"web-1", hour))
	own.taken("web-1")
	own.denied("may not speak for sensor", "web-2")
	own.denied("may not speak for sensor", "web-1", "web-2")
	relay := g.dial(g.ca.IssueURI("gateway", "netview://relay/gateway", hour))
	relay.taken("web-1", "web-2", "db")
	relay.denied("may not speak for sensor", "web-1", "db2")
	g.dial(g.ca.IssueURI("other", "netview://relay/other", hour)).denied("has no URI", "web-1")
	g.dial(g.ca.Issue("nobody")).denied("has no URI", "nobody")
	if n := count(t, ch, "SELECT count() FROM netview.heartbeats WHERE sensor_id NOT IN ('web-1', 'web-2', 'db')"); n != 0 {
		t.Errorf("%d heartbeats of sensors that nobody may speak for are stored", n)
	}
	if n := count(t, ch, "SELECT count() FROM netview.heartbeats WHERE sensor_id = 'web-2'"); n != 2 {
		t.Errorf("%d heartbeats of web-2 are stored, want the 2 of its relay", n)
	}
	if other, none := g.sum(t, "netview_receiver_denied", deniedOtherSensor), g.sum(t, "netview_receiver_denied", deniedNoIdentity); other != 6 || none != 4 {
		t.Errorf("%d requests are counted for another sensor and %d for no identity, want 6 and 4", other, none)
	}
	if n := g.sum(t, "netview_receiver_requests", answerDenied); n != 10 {
		t.Errorf("%d requests are counted as denied, want 10", n)
	}
}

// TestRevocationOnAnOpenConnection: what the access file says holds within seconds,
// and so does the end of a certificate; a broken file changes nothing.
func TestRevocationOnAnOpenConnection(t *testing.T) {
	g := startGuarded(t, testch.Start(t), "sensors: [a, b, short]\n")
	hour := time.Now().Add(time.Hour)
	certificate := g.ca.IssueURI("a", sensorURI+"a", hour)
	a, b := g.dial(certificate), g.dial(g.ca.IssueURI("b", sensorURI+"b", hour))
	a.taken("a")
	b.taken("b")
	// After the others, which may take seconds on a busy host.
	short := g.dial(g.ca.IssueURI("short", sensorURI+"short", time.Now().Add(10*time.Second)))
	short.taken("short")
	g.allow(fmt.Sprintf("sensors: [a, short]\nrevoked: [\"%X\"]\n", certificate.Leaf.SerialNumber))
	a.denied("is revoked", "a")
	b.denied("is not among those that may send", "b")
	short.denied("was valid until", "short")
	g.allow("sensors: {")
	time.Sleep(2 * fileInterval)
	a.denied("is revoked", "a")
	g.allow("sensors: [a, b]\n")
	a.taken("a")
	b.taken("b")
}

// TestStrangersAreRefusedByTLS: without a certificate, or with one of another
// authority, nothing of a request is read; both are counted.
func TestStrangersAreRefusedByTLS(t *testing.T) {
	g := startGuarded(t, testch.Start(t), "")
	other := testca.New(t, t.TempDir(), "other")
	for name, certificates := range map[string][]tls.Certificate{
		"no certificate":              nil,
		"one of another authority":    {other.IssueURI("x", sensorURI+"x", time.Now().Add(time.Hour))},
		"one that has expired before": {g.ca.IssueURI("old", sensorURI+"old", time.Now().Add(-time.Second))},
	} {
		before := g.sum(t, "netview_receiver_denied", deniedHandshake)
		for _, url := range []string{"https://" + g.grpc, g.http} {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.roots, Certificates: certificates}, DisableKeepAlives: true}
			answer, err := (&http.Client{Transport: transport}).Post(url, protobufType, strings.NewReader(""))
			if err == nil {
				answer.Body.Close()
				t.Errorf("%s is answered with %s", name, answer.Status)
			}
		}
		testbin.Eventually(t, 20*time.Second, func() string {
			if n := g.sum(t, "netview_receiver_denied", deniedHandshake) - before; n != 2 {
				return fmt.Sprintf("%s: %d handshakes are counted as denied, want 2", name, n)
			}
			return ""
		})
	}
}

// TestRotation: new certificates of the server and of its clients' authority are
// taken without a restart.
func TestRotation(t *testing.T) {
	g := startGuarded(t, testch.Start(t), "")
	g.dial(g.ca.IssueURI("a", sensorURI+"a", time.Now().Add(time.Hour))).taken("a")
	next := testca.New(t, filepath.Dir(g.access), "ca") // in the place of the first
	next.Issue("server", "127.0.0.1")
	g.roots = x509.NewCertPool()
	g.roots.AddCert(next.Certificate)
	certificate := next.IssueURI("a", sensorURI+"a", time.Now().Add(time.Hour))
	testbin.Eventually(t, time.Minute, func() string {
		conn, err := tls.Dial("tcp", g.grpc, &tls.Config{RootCAs: g.roots, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err.Error()
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // the server's settings
			return err.Error()
		}
		return ""
	})
	g.dial(certificate).taken("a")
}

// TestUnreadableFiles are shown for as long as they cannot be read, and what they said
// before holds.
func TestUnreadableFiles(t *testing.T) {
	g := startGuarded(t, testch.Start(t), "sensors: [a]\n")
	a := g.dial(g.ca.IssueURI("a", sensorURI+"a", time.Now().Add(time.Hour)))
	a.taken("a")
	key := filepath.Join(filepath.Dir(g.access), "server.key")
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(access, tls int64) {
		t.Helper()
		testbin.Eventually(t, 20*time.Second, func() string {
			if got, more := g.sum(t, "netview_receiver_unreadable_files", fileAccess), g.sum(t, "netview_receiver_unreadable_files", fileTLS); got != access || more != tls {
				return fmt.Sprintf("%d access files and the certificates of %d protocols are shown as unreadable, want %d and %d", got, more, access, tls)
			}
			return ""
		})
	}
	shown(0, 0)
	g.allow("sensors: {")
	shown(1, 0)
	a.taken("a")
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	shown(1, 2)  // of gRPC and of HTTP
	a.taken("a") // over its connection
	if err := os.WriteFile(key, good, 0o600); err != nil {
		t.Fatal(err)
	}
	g.allow("sensors: [a, b]\n")
	shown(0, 0)
	g.dial(g.ca.IssueURI("b", sensorURI+"b", time.Now().Add(time.Hour))).taken("b")
}

func TestAccessFile(t *testing.T) {
	for text, quote := range map[string]string{
		"":                            "",
		"sensors: []":                 "",
		"sensors: [A]":                `sensors: "A" is not a sensor_id`,
		"sensors: [a*b]":              `"a*b"`,
		"relays: {x: [\"*\"]}":        "",
		"relays: {x: [\"\"]}":         "relays::x",
		"revoked: [\"0A:ff\"]":        "",
		"revoked: [xyz]":              "serial number in hexadecimal",
		"sensor: [a]":                 "sensor",
		"sensors: {":                  "yaml",
		"- a":                         "",
		"sensors: a\nrevoked: {a: b}": "revoked",
	} {
		_, err := parseAccess([]byte(text))
		if text == "- a" && err == nil || quote == "" && text != "- a" && err != nil || err != nil && !strings.Contains(err.Error(), quote) {
			t.Errorf("%q gives %v, want %q", text, err, quote)
		}
	}
	if _, err := readAccess("/nonexistent"); err == nil || !strings.Contains(err.Error(), "identity::access_file") {
		t.Errorf("a file that is not there gives %v", err)
	}
}

// TestADoorBesideTheLock: one protocol must not take from anybody what the other
// takes from those who show who they are.
func TestADoorBesideTheLock(t *testing.T) {
	config := testConfig(t, nil)
	secure := reloadedTLS()
	secure.Config = configtls.Config{CertFile: "a", KeyFile: "b"}
	secure.ClientCAFile = "c"
	config.Protocols.GRPC.Get().TLS = configoptional.Some(secure)
	if err := config.Validate(); err == nil || !strings.Contains(err.Error(), "protocols::http") {
		t.Errorf("an open door gives %v", err)
	}
	config.Protocols.HTTP.Get().TLS = configoptional.Some(secure)
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
	open := testConfig(t, nil)
	open.Identity.AccessFile = "access.yaml"
	if err := open.Validate(); err == nil || !strings.Contains(err.Error(), "identity::access_file") {
		t.Errorf("an access file without certificates gives %v", err)
	}
}

// TestTwoSensorsWithOneName are counted while they live at the same time; a sensor
// that was started again is one, in whatever order its heartbeats come.
func TestTwoSensorsWithOneName(t *testing.T) {
	ch := testch.Start(t)
	r := startReady(t, ch)
	now := time.Now().UTC().Truncate(time.Microsecond)
	beat := func(sensorID string, session uuid.UUID, began, at time.Duration) {
		t.Helper()
		h := &event.Heartbeat{Envelope: event.Envelope{Resource: event.Resource{SensorID: sensorID, Session: session, HostName: "h-" + session.String()[:4]},
			Sequence: uint64(at/time.Second) + 1, Timestamp: now.Add(at - time.Minute)}, Heartbeat: uint64(at/time.Second) + 1,
			Mode: event.ModeCompatibility, Interval: 15 * time.Second, Uptime: at - began}
		send(t, r, []event.Event{h})
	}
	shared := func() int64 { return r.sum(t, "netview_receiver_shared_sensor_ids", "") }
	first, second := uuid.New(), uuid.New()
	beat("restarted", first, 0, 0)
	beat("restarted", second, 16*time.Second, 16*time.Second)
	beat("restarted", first, 0, 15*time.Second) // from its spool
	beat("restarted", second, 16*time.Second, 31*time.Second)
	if n := shared(); n != 0 {
		t.Errorf("%d names are shared after a restart", n)
	}
	beat("cloned", first, 0, 0)
	beat("cloned", second, 3*time.Second, 3*time.Second)
	beat("cloned", first, 0, 15*time.Second)
	beat("cloned", second, 3*time.Second, 18*time.Second)
	if n := shared(); n != 1 {
		t.Errorf("%d names are shared, want 1", n)
	}
	const view = "SELECT count() FROM netview.shared_identities(at = now64(3, 'UTC'))"
	if n := count(t, ch, view); n != 2 {
		t.Errorf("the view has %d sessions, want the 2 of the clone", n)
	}
	if n := count(t, ch, view+" WHERE sensor_id = 'cloned' AND startsWith(host_name, 'h-')"); n != 2 {
		t.Errorf("the view has %d sessions of the clone with their hosts", n)
	}
}

// TestMostSensors: those that are known go on, and the next is told to come back.
func TestMostSensors(t *testing.T) {
	config := testConfig(t, testch.Start(t))
	config.MaxSensors = 2
	r := startReceiver(t, config, consumertest.NewNop())
	r.host.until(t, componentstatus.StatusOK)
	for id, want := range map[string]codes.Code{"a": codes.OK, "b": codes.OK} {
		if _, err := r.Export(context.Background(), recordsOf(id)); status.Code(err) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	_, err := r.Export(context.Background(), recordsOf("c"))
	if status.Code(err) != codes.ResourceExhausted || len(status.Convert(err).Details()) == 0 || !strings.Contains(err.Error(), "max_sensors") {
		t.Errorf("the third sensor is answered with %v", err)
	}
	if _, err := r.Export(context.Background(), recordsOf("a")); err != nil {
		t.Errorf("the first sensor is answered with %v", err)
	}
}

// TestDoor: strangers take the place of the oldest stranger, and never that of one
// whose request was let in.
func TestDoor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newDoor(listener)
	defer d.Close()
	d.most = 2
	var clients []net.Conn
	knock := func() net.Conn {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
		server, err := d.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	honest := knock()
	d.letIn(honest.RemoteAddr().String(), "a")
	for range 3 {
		knock()
	}
	ended := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		return err == io.EOF
	}
	for i, want := range []bool{false, true, false, false} {
		if ended(clients[i]) != want {
			t.Errorf("connection %d has ended: %t, want %t", i, !want, want)
		}
	}
	last := knock()
	if d.strangers.Len() != 2 {
		t.Errorf("%d strangers", d.strangers.Len())
	}
	last.Close()
	if d.strangers.Len() != 1 || len(d.byAddress) != 1 {
		t.Errorf("%d strangers, %d addresses after one has closed", d.strangers.Len(), len(d.byAddress))
	}
	// Of one sensor the oldest goes, and nobody else's.
	d.mostOfOne = 2
	first := len(clients)
	for range 2 {
		server := knock()
		d.letIn(server.RemoteAddr().String(), "a")
	}
	relay := knock()
	d.letIn(relay.RemoteAddr().String(), "")
	other := knock()
	d.letIn(other.RemoteAddr().String(), "b")
	for i, want := range map[int]bool{0: true, first: false, first + 1: false, first + 2: false, first + 3: false} {
		if ended(clients[i]) != want {
			t.Errorf("connection %d has ended: %t, want %t", i, !want, want)
		}
	}
	other.Close()
	relay.Close()
	if len(d.sensors) != 1 || d.sensors["a"].Len() != 2 {
		t.Errorf("%v are kept by sensor", d.sensors)
	}
}
