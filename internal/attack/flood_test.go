package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/netview-project/netview/internal/testca"
)

// attackLasts bounds each attack.
const attackLasts = 6 * time.Second

// mostMemory (MiB) that the collector may take more under attack than before: a
// few times max_in_flight_mib, as the receiver's README has it.
const mostMemory = 512

// TestFloods: under each attack an honest sensor's heartbeats go through or wait,
// none is lost, and the collector's memory holds its bound.
func TestFloods(t *testing.T) {
	f := startFort(t)
	f.certify("sensor", "honest")
	f.certify("sensor", "mallory")
	honest := f.startSensor("honest", "honest", "grpcs")
	honest.beats(2)
	stranger := testca.New(t, t.TempDir(), "ca").IssueURI("x", "netview://sensor/honest", time.Now().Add(time.Hour))
	taken := f.client(f.pair("mallory"))
	attacks := []struct {
		name    string
		senders int
		once    func(ctx context.Context, address string) // one step, again and again
	}{
		{"connections that say nothing", 8, hold(200, func(ctx context.Context, address string) (io.Closer, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		})},
		{"handshakes that stop", 8, hold(200, func(ctx context.Context, address string) (io.Closer, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err == nil {
				_, err = conn.Write([]byte{22, 3, 1, 2, 0, 1}) // a ClientHello of 512 bytes, of which one comes
			}
			return conn, err
		})},
		{"handshakes of another authority", 8, func(ctx context.Context, address string) {
			dialer := tls.Dialer{Config: f.client(stranger)}
			if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
				_, _ = conn.Read(make([]byte, 1))
				conn.Close()
			}
		}},
		{"slow requests of a sensor", 16, slowly(taken)},
		{"bombs of a sensor, in zstd", 8, bomb(taken, "zstd", packed(t, "zstd"))},
		{"bombs of a sensor, in gzip", 8, bomb(taken, "gzip", packed(t, "gzip"))},
	}
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			before, _, cpu := f.memory()
			beats := honest.acknowledged()
			ctx, cancel := context.WithTimeout(t.Context(), attackLasts)
			defer cancel()
			var attackers sync.WaitGroup
			for _, address := range []string{f.grpc, f.http} {
				for range attack.senders {
					attackers.Go(func() {
						for ctx.Err() == nil {
							attack.once(ctx, address)
						}
					})
				}
			}
			attackers.Wait()
			meanwhile := honest.acknowledged() - beats
			now, peak, spent := f.memory()
			t.Logf("in %v: %.0f heartbeats of the honest sensor taken; memory %d MiB before, %d after, %d the most so far; %.1f s of CPU", attackLasts, meanwhile, before, now, peak, spent-cpu)
			if peak > before+mostMemory {
				t.Errorf("the collector took %d MiB, and before %d", peak, before)
			}
			honest.beats(2)
		})
	}
	f.whole("honest")
	if n := f.number("SELECT count() FROM netview.heartbeats WHERE sensor_id != 'honest'"); n != 0 {
		t.Errorf("%d heartbeats of attackers are stored", n)
	}
}

// hold opens connections and keeps so many of each attacker.
func hold(most int, open func(ctx context.Context, address string) (io.Closer, error)) func(ctx context.Context, address string) {
	return func(ctx context.Context, address string) {
		var held []io.Closer
		defer func() {
			for _, c := range held {
				c.Close()
			}
		}()
		for len(held) < most && ctx.Err() == nil {
			if c, err := open(ctx, address); err == nil {
				held = append(held, c)
			}
		}
	}
}

// call sends a message as gRPC or HTTP would, over HTTP/2, whichever the server
// at the address speaks: either refuses the other's in a moment.
func call(ctx context.Context, client *http.Client, address, encoding string, body io.Reader, size int) {
	head := binary.BigEndian.AppendUint32([]byte{1}, uint32(size))
	for _, protocol := range []string{"grpc", "http"} {
		url, content := "https://"+address+"/v1/logs", body
		if protocol == "grpc" {
			url, content = "https://"+address+"/opentelemetry.proto.collector.logs.v1.LogsService/Export", io.MultiReader(bytes.NewReader(head), body)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(content))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", map[string]string{"grpc": "application/grpc", "http": "application/x-protobuf"}[protocol])
		r.Header.Set(map[string]string{"grpc": "grpc-encoding", "http": "Content-Encoding"}[protocol], encoding)
		if protocol == "grpc" {
			r.Header.Set("TE", "trailers")
		}
		if answer, err := client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	}
}

func overHTTP2(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}}
}

// slowly sends 50 requests at a time over one connection, a byte every 50 ms.
func slowly(config *tls.Config) func(ctx context.Context, address string) {
	return func(ctx context.Context, address string) {
		client := overHTTP2(config)
		defer client.CloseIdleConnections()
		var streams sync.WaitGroup
		for range 50 {
			streams.Go(func() { call(ctx, client, address, "gzip", &drip{ctx}, 3<<20) })
		}
		streams.Wait()
	}
}

// drip is a body of a byte every 50 ms.
type drip struct{ ctx context.Context }

func (d *drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(50 * time.Millisecond):
		p[0] = 0
		return 1, nil
	case <-d.ctx.Done():
		return 0, io.EOF
	}
}

// packed is 1 GB of zeros.
func packed(t *testing.T, encoding string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if encoding == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(make([]byte, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(b.Bytes(), 64)
}

func bomb(config *tls.Config, encoding string, body []byte) func(ctx context.Context, address string) {
	client := overHTTP2(config)
	return func(ctx context.Context, address string) {
		call(ctx, client, address, encoding, bytes.NewReader(body), len(body))
	}
}
