package attack

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testca"
)

// TestIdentity: sensors with the certificates of the script send by both protocols;
// one with another's name, one of another authority and one without a certificate
// get nothing in, and keep what they have.
func TestIdentity(t *testing.T) {
	f := startFort(t)
	f.certify("sensor", "web-1")
	f.certify("sensor", "web-2")
	byGRPC, byHTTP := f.startSensor("web-1", "web-1", "grpcs"), f.startSensor("web-2", "web-2", "https")
	byGRPC.beats(3)
	byHTTP.beats(3)

	f.certify("sensor", "mallory")
	mallory := f.startSensor("web-3", "mallory", "grpcs")
	other := testca.New(t, f.t.TempDir(), "ca").IssueURI("web-1", "netview://sensor/web-1", time.Now().Add(time.Hour))
	for name, certificates := range map[string][]tls.Certificate{"no certificate": nil, "another authority": {other}} {
		before := f.denied("handshake")
		client := http.Client{Transport: &http.Transport{TLSClientConfig: f.client(certificates...), DisableKeepAlives: true}}
		if answer, err := client.Post("https://"+f.http+"/v1/logs", "application/x-protobuf", strings.NewReader("")); err == nil {
			answer.Body.Close()
			t.Errorf("%s is answered with %s", name, answer.Status)
		}
		eventually(t, func() string {
			if f.denied("handshake") == before {
				return name + " is not counted"
			}
			return ""
		})
	}
	eventually(t, func() string {
		if metric(t, mallory.metrics, "netview_send_failures_total", "denied") < 2 || f.denied("other_sensor") < 2 {
			return "a sensor with another's certificate does not count that it is denied"
		}
		return ""
	})
	if n := metric(t, mallory.metrics, "netview_spool_records", "snapshots"); n == 0 || mallory.acknowledged() != 0 {
		t.Errorf("a denied sensor holds %.0f records, and %.0f heartbeats of it are taken", n, mallory.acknowledged())
	}
	if said := mallory.sensor.Said(); strings.Count(said, "refuses this sensor") != 1 || !strings.Contains(said, "may not speak for sensor") {
		t.Errorf("a denied sensor says:\n%s", said)
	}
	if n := strings.Count(f.collector.Said(), "other_sensor"); n != 1 {
		t.Errorf("the collector says %d times who is denied, want once", n)
	}
	if n := f.number("SELECT count() FROM netview.heartbeats WHERE sensor_id NOT IN ('web-1', 'web-2')"); n != 0 {
		t.Errorf("%d heartbeats are stored that nobody could send", n)
	}
	for _, secret := range []string{"PRIVATE KEY", "Bearer"} {
		if strings.Contains(f.collector.Said()+byGRPC.sensor.Said(), secret) {
			t.Errorf("a log has %q", secret)
		}
	}
	f.whole("web-1")
	f.whole("web-2")
}

// TestWronglyRevoked: who is revoked is refused on its open connection, keeps its
// records, and has lost none when that is taken back, or when it gets another
// certificate, without a restart of anything.
func TestWronglyRevoked(t *testing.T) {
	f := startFort(t)
	f.certify("sensor", "web-1")
	web := f.startSensor("web-1", "web-1", "grpcs")
	web.beats(3)
	f.allow(fmt.Sprintf("revoked: [%q]\n", f.serial("web-1")))
	refused := func() {
		t.Helper()
		before := metric(t, web.metrics, "netview_send_failures_total", "denied")
		eventually(t, func() string {
			if metric(t, web.metrics, "netview_send_failures_total", "denied") == before {
				return "a revoked sensor is not refused"
			}
			return ""
		})
	}
	refused()
	f.allow("")
	web.beats(1)
	f.allow(fmt.Sprintf("revoked: [%q]\n", f.serial("web-1")))
	refused()
	f.certify("sensor", "web-1") // anew
	web.beats(3)
	f.whole("web-1")
	if n := metric(t, web.metrics, "netview_spool_lost_records_total", "refused"); n != 0 {
		t.Errorf("%.0f records are lost as refused", n)
	}
}

// TestExpiry: a certificate that ends while its connection is open is refused then,
// and its successor is taken.
func TestExpiry(t *testing.T) {
	f := startFort(t)
	ca := testca.Open(t, f.dir, "ca")
	ca.IssueURI("web-1", "netview://sensor/web-1", time.Now().Add(8*time.Second))
	web := f.startSensor("web-1", "web-1", "grpcs")
	web.beats(2)
	testbin.Eventually(t, 20*time.Second, func() string {
		if f.denied("expired") == 0 {
			return "an expired certificate is not refused"
		}
		return ""
	})
	ca.IssueURI("web-1", "netview://sensor/web-1", time.Now().Add(time.Hour))
	web.beats(3)
	f.whole("web-1")
}

// TestToken: the Collector's own authenticator in the place of certificates. Who
// has no token, or a wrong one, keeps its records until it has the right one.
func TestToken(t *testing.T) {
	dir := t.TempDir()
	tokens := map[string]string{"good": "s3cret-of-all", "own": "wrong"}
	write := func(name string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(tokens[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	sample, err := os.ReadFile("../../deploy/collector-tls.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.yaml")
	text := strings.NewReplacer(
		"extensions:\n  health_check:", "extensions:\n  bearertokenauth: {filename: "+write("good")+"}\n  health_check:",
		"          client_ca_file: ${env:NETVIEW_CERTIFICATES:-/etc/netview}/ca.crt\n", "        auth: {authenticator: bearertokenauth}\n",
		"        tls: *tls\n", "        tls: *tls\n        auth: {authenticator: bearertokenauth}\n",
		"    identity:\n      access_file: ${env:NETVIEW_ACCESS_FILE:-/etc/netview/access.yaml}\n", "",
		"extensions: [health_check]", "extensions: [bearertokenauth, health_check]").Replace(string(sample))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := startFortWith(t, config)
	own := write("own")
	for id, protocol := range map[string]string{"web-1": "grpcs", "web-2": "https"} {
		f.startHost(id, protocol, "--otlp.token-file", filepath.Join(dir, "good")).beats(2)
	}
	wrong, none := f.startHost("web-3", "grpcs", "--otlp.token-file", own), f.startHost("web-4", "https")
	for _, h := range []*host{wrong, none} {
		eventually(t, func() string {
			if metric(t, h.metrics, "netview_send_failures_total", "denied") < 2 {
				return h.id + " is not denied"
			}
			return ""
		})
	}
	tokens["own"] = tokens["good"]
	write("own")
	wrong.beats(2)
	if n := f.number("SELECT count() FROM netview.heartbeats WHERE sensor_id = 'web-4'"); n != 0 {
		t.Errorf("%d heartbeats without a token are stored", n)
	}
	f.whole("web-3")
	if said := f.collector.Said() + wrong.sensor.Said(); strings.Contains(said, tokens["good"]) {
		t.Error("a log has the token")
	}
}
