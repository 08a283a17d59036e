package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/internal/testca"
)

// guardedCollector is a collector over TLS that takes records of the certificate
// and the token that it is told, and denies all others.
type guardedCollector struct {
	*collector
	mutex       sync.Mutex
	name, token string
}

func (c *guardedCollector) allow(name, token string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.name, c.token = name, token
}

func (c *guardedCollector) admit(state tls.ConnectionState, token string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if name := state.PeerCertificates[0].Subject.CommonName; name != c.name || token != c.token {
		return status.Errorf(codes.PermissionDenied, "not %s", name)
	}
	return nil
}

// startGuarded serves with server.crt and server.key of a directory, for clients
// with a certificate of its ca.crt.
func startGuarded(t *testing.T, protocol, dir string) *guardedCollector {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal("no authority", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &guardedCollector{collector: &collector{endpoint: protocol + "s://" + listener.Addr().String(), arrive: make(chan struct{}, 10_000)}}
	if protocol == "grpc" {
		server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			p, _ := peer.FromContext(ctx)
			if err := c.admit(p.AuthInfo.(credentials.TLSInfo).State, strings.Join(metadata.ValueFromIncomingContext(ctx, authorization), ",")); err != nil {
				return nil, err
			}
			return handler(ctx, request)
		}))
		plogotlp.RegisterGRPCServer(server, c.collector)
		go server.Serve(listener)
		t.Cleanup(server.Stop)
		return c
	}
	server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.admit(*r.TLS, r.Header.Get(authorization)); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		c.ServeHTTP(w, r)
	})}
	go server.ServeTLS(listener, "", "")
	t.Cleanup(func() { server.Close() })
	return c
}

// move puts a pair of files in the place of another, as who renews them does.
func move(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := errors.Join(os.Rename(filepath.Join(dir, from+".crt"), filepath.Join(dir, to+".crt")),
		os.Rename(filepath.Join(dir, from+".key"), filepath.Join(dir, to+".key"))); err != nil {
		t.Fatal(err)
	}
}

// TestDenied: a sensor that is denied keeps its records, says so once, counts each
// attempt, and takes its new certificate and token without a restart.
func TestDenied(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol string) {
		dir := t.TempDir()
		ca := testca.New(t, dir, "ca")
		ca.Issue("server", "127.0.0.1")
		ca.Issue("old")
		ca.Issue("new")
		move(t, dir, "old", "client")
		tokenFile := filepath.Join(dir, "token")
		if err := os.WriteFile(tokenFile, []byte("first\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := startGuarded(t, protocol, dir)
		c.allow("old", "Bearer first")
		o := options(t, "http://127.0.0.1:1")
		var err error
		o.Client, err = NewClient(c.endpoint, Security{CAFile: filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "client.crt"), KeyFile: filepath.Join(dir, "client.key"), TokenFile: tokenFile})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Client.Close()
		var said safeBuffer
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
		s := open(t, o)
		stop := run(t, s)
		s.AppendEvents(flows(3))
		eventually(t, "the first events acknowledged", func() bool { return s.Status().Events.Records == 0 })

		c.allow("new", "Bearer second")
		s.AppendEvents(flows(3))
		s.AppendEvents(flows(3))
		eventually(t, "several denials counted", func() bool { return s.Status().Failed[FailedDenied] >= 6 })
		if status := s.Status(); status.Events.Records != 6 || sumLosses(status) != 0 {
			t.Errorf("a denied sensor holds %d records, and has lost %v", status.Events.Records, status.Losses())
		}
		move(t, dir, "new", "client")
		if err := os.WriteFile(tokenFile, []byte("second"), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all events acknowledged", func() bool { return s.Status().Events.Records == 0 })
		stop()
		if n := strings.Count(said.String(), "refuses this sensor"); n != 1 {
			t.Errorf("the log says %d times that the sensor is refused:\n%s", n, said.String())
		}
		if strings.Contains(said.String(), "Bearer") {
			t.Error("the log has the token")
		}
	})
}

// safeBuffer may be written while it is read.
type safeBuffer struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.Write(p)
}

// TestACollectorOfAnotherAuthority gets nothing, and neither does one with another
// name; what is sent waits.
func TestACollectorOfAnotherAuthority(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, protocol string) {
		dir, other := t.TempDir(), t.TempDir()
		ca := testca.New(t, dir, "ca")
		ca.Issue("server", "127.0.0.1")
		ca.Issue("client")
		testca.New(t, other, "ca")
		c := startGuarded(t, protocol, dir)
		c.allow("client", "")
		c.answer = func(int, plog.Logs) (int64, error) {
			t.Error("it got a request")
			return 0, nil
		}
		good := Security{CAFile: filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "client.crt"), KeyFile: filepath.Join(dir, "client.key")}
		for name, change := range map[string]func(*Security){
			"another authority": func(s *Security) { s.CAFile = filepath.Join(other, "ca.crt") },
			"another name":      func(s *Security) { s.ServerName = "collector.example" },
			"no certificate":    func(s *Security) { s.CertFile, s.KeyFile = "", "" },
		} {
			security := good
			change(&security)
			client, err := NewClient(c.endpoint, security)
			if err != nil {
				t.Fatal(err)
			}
			err = Ask(t.Context(), client)
			if status.Code(err) != codes.Unavailable || Permanent(err) {
				t.Errorf("%s: %v, want what is tried again", name, err)
			}
			client.Close()
		}
	})
}

func TestSecurityErrors(t *testing.T) {
	dir := t.TempDir()
	testca.New(t, dir, "ca").Issue("client")
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("token"), []byte("two\nlines"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		endpoint string
		security Security
		quote    string
	}{
		{"grpcs://h:1", Security{}, ""},
		{"https://h:1", Security{CAFile: file("ca.crt"), CertFile: file("client.crt"), KeyFile: file("client.key")}, ""},
		{"grpc://h:1", Security{CAFile: file("ca.crt")}, "grpcs://HOST:4317"},
		{"http://h:1", Security{TokenFile: file("token")}, "https://HOST:4318"},
		{"grpcs://h:1", Security{CertFile: file("client.crt")}, "key"},
		{"grpcs://h:1", Security{CAFile: file("none")}, file("none")},
		{"grpcs://h:1", Security{CAFile: file("client.key")}, "parse"},
		{"grpcs://h:1", Security{CertFile: file("client.crt"), KeyFile: file("ca.crt")}, "key"},
		{"grpcs://h:1", Security{TokenFile: file("token")}, file("token")},
		{"grpcs://h:1", Security{TokenFile: file("none")}, file("none")},
	} {
		client, err := NewClient(tt.endpoint, tt.security)
		if (err == nil) != (tt.quote == "") || err != nil && !strings.Contains(err.Error(), tt.quote) {
			t.Errorf("%s with %+v gives %v, want %q", tt.endpoint, tt.security, err, tt.quote)
		}
		if err == nil {
			client.Close()
		} else if strings.Contains(err.Error(), "lines") && strings.Contains(err.Error(), "two") {
			t.Errorf("the error has the token: %v", err)
		}
	}
}
