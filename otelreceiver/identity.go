package otelreceiver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// Causes for which a sender is refused: for who it is, and not for what it sends.
const (
	deniedHandshake   = "handshake"    // TLS failed: no certificate, or one of another authority
	deniedNoIdentity  = "no_identity"  // the certificate names no sensor, and no relay
	deniedExpired     = "expired"      // on a connection that is older than that
	deniedRevoked     = "revoked"      // by the access file
	deniedNotListed   = "not_listed"   // in the access file
	deniedOtherSensor = "other_sensor" // a record of a sensor that it may not speak for
)

func deniedCauses() []string {
	return []string{deniedHandshake, deniedNoIdentity, deniedExpired, deniedRevoked, deniedNotListed, deniedOtherSensor}
}

// gate knows who may send. It is asked at every request, since a connection lives
// longer than what was true when it was made.
type gate struct {
	prefix    string // of the URI that names a sensor
	access    atomic.Pointer[access]
	telemetry *metadata.Telemetry
	log       *zap.Logger

	mutex sync.Mutex
	told  *simplelru.LRU[string, struct{}] // what the log has said
}

// mostTold is how many pairs of sender and cause the log remembers to have named.
const mostTold = 4096

func newGate(prefix string, telemetry *metadata.Telemetry, log *zap.Logger) *gate {
	told, err := simplelru.NewLRU[string, struct{}](mostTold, nil)
	if err != nil {
		panic(err) // of a size below 1
	}
	g := &gate{prefix: prefix, telemetry: telemetry, log: log, told: told}
	g.access.Store(&access{})
	return g
}

// sender is who sent a request: what its connection proves.
type sender struct {
	gate *gate // nil where client certificates are off: it may speak for all
	// chains from its certificate, which is the first of each, to an authority.
	chains  [][]*x509.Certificate
	address string
}

// ofGRPC is the sender of a gRPC request. The Collector's client.Info has no
// certificate.
func (g *gate) ofGRPC(ctx context.Context) *sender {
	s := &sender{gate: g}
	if p, ok := peer.FromContext(ctx); ok {
		s.address = p.Addr.String()
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			s.chains = info.State.VerifiedChains
		}
	}
	return s
}

// ofHTTP is the sender of an HTTP request.
func (g *gate) ofHTTP(r *http.Request) *sender {
	s := &sender{gate: g, address: r.RemoteAddr}
	if r.TLS != nil {
		s.chains = r.TLS.VerifiedChains
	}
	return s
}

// denial says why a sender is refused.
type denial struct{ cause, text string }

// voice is for which sensors a sender may speak.
type voice struct {
	sensor string // itself; empty for a relay
	relay  *names
}

func (v voice) has(sensorID string) bool {
	if v.relay != nil {
		return v.relay.has(sensorID)
	}
	return sensorID == v.sensor
}

// admit says whether the sender may send at all, before anything of its request
// is read, and which sensor it is; empty where that is not known. Its error is a
// gRPC status that keeps the sender's spool.
func (s *sender) admit(ctx context.Context) (sensor string, err error) {
	if s.gate == nil {
		return "", nil
	}
	v, d := s.speaks(s.gate.access.Load(), time.Now())
	return v.sensor, s.gate.deny(ctx, s, d)
}

// check returns what says whether the sender may speak for a sensor; nil where it
// may speak for all. It holds for one request.
func (s *sender) check() func(sensorID string) *denial {
	if s.gate == nil {
		return nil
	}
	v, d := s.speaks(s.gate.access.Load(), time.Now())
	if d != nil {
		return func(string) *denial { return d }
	}
	last := ""
	return func(sensorID string) *denial {
		if sensorID != last && !v.has(sensorID) {
			return &denial{deniedOtherSensor, fmt.Sprintf("the certificate %s may not speak for sensor %q", s.name(), sensorID)}
		}
		last = sensorID
		return nil
	}
}

// speaks returns which sensors a sender may speak for, or why none.
func (s *sender) speaks(a *access, now time.Time) (v voice, refused *denial) {
	if len(s.chains) == 0 {
		return v, &denial{deniedNoIdentity, "the connection shows no client certificate"}
	}
	leaf := s.chains[0][0]
	serial := serialOf(leaf.SerialNumber)
	switch {
	case !anyValid(s.chains, now):
		return v, &denial{deniedExpired, fmt.Sprintf("the certificate %s, or one that it rests on, was valid until %s: connect with a new one", s.name(), leaf.NotAfter.UTC().Format(time.RFC3339))}
	case a.revoked[serial]:
		return v, &denial{deniedRevoked, fmt.Sprintf("the certificate %s with the serial number %s is revoked", s.name(), serial)}
	}
	sensorID := ""
	for _, uri := range leaf.URIs {
		if relay := a.relays[uri.String()]; relay != nil {
			return voice{relay: relay}, nil
		}
		if id, ok := strings.CutPrefix(uri.String(), s.gate.prefix); ok && event.CheckSensorID(id) == nil {
			if sensorID != "" {
				return v, &denial{deniedNoIdentity, fmt.Sprintf("the certificate names two sensors, %s and %s: one is its own", sensorID, id)}
			}
			sensorID = id
		}
	}
	switch {
	case sensorID == "":
		return v, &denial{deniedNoIdentity, fmt.Sprintf("the certificate %s has no URI %sSENSOR_ID among its alternative names, and is not one of the relays", s.name(), s.gate.prefix)}
	case a.sensors != nil && !a.sensors.has(sensorID):
		return v, &denial{deniedNotListed, fmt.Sprintf("sensor %s is not among those that may send", sensorID)}
	}
	return voice{sensor: sensorID}, nil
}

// anyValid reports whether there is a chain of which everything is valid now. It
// was when the connection was made.
func anyValid(chains [][]*x509.Certificate, now time.Time) bool {
	for _, chain := range chains {
		valid := true
		for _, certificate := range chain {
			valid = valid && !now.Before(certificate.NotBefore) && !now.After(certificate.NotAfter)
		}
		if valid {
			return true
		}
	}
	return false
}

// name is what a sender is called: its certificate's first URI, or its subject.
func (s *sender) name() string {
	if len(s.chains) == 0 {
		host, _, err := net.SplitHostPort(s.address)
		if err != nil {
			return s.address
		}
		return host
	}
	leaf := s.chains[0][0]
	if len(leaf.URIs) > 0 {
		return leaf.URIs[0].String()
	}
	return leaf.Subject.String()
}

// deny counts a refusal and tells the log, once for each sender and cause. It
// returns nothing where there is no refusal.
func (g *gate) deny(ctx context.Context, s *sender, d *denial) error {
	if d == nil {
		return nil
	}
	g.telemetry.Denied.Add(ctx, 1, metric.WithAttributes(attribute.String("cause", d.cause)))
	key := d.cause + " " + s.name()
	g.mutex.Lock()
	told := g.told.Contains(key)
	g.told.Add(key, struct{}{})
	g.mutex.Unlock()
	if !told {
		g.log.Warn("A sender is refused; it is said once, and counted each time", zap.String("sender", s.name()), zap.String("address", s.address), zap.String("cause", d.cause), zap.String("why", d.text))
	}
	return status.Error(codes.PermissionDenied, d.text)
}

// handshakes are gRPC's credentials of a server that tell of those that failed.
type handshakes struct {
	credentials.TransportCredentials
	gate *gate
}

// ServerHandshake implements [credentials.TransportCredentials].
func (h handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	encrypted, info, err := h.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		h.gate.handshakeFailed(conn.RemoteAddr().String(), err)
	}
	return encrypted, info, err
}

// Clone implements [credentials.TransportCredentials].
func (h handshakes) Clone() credentials.TransportCredentials {
	return handshakes{h.TransportCredentials.Clone(), h.gate}
}

// handshakeFailed is told of a connection. One that ends without a word is no
// attempt, but the probe of a balancer.
func (g *gate) handshakeFailed(address string, err error) {
	if err.Error() == io.EOF.Error() {
		return
	}
	_ = g.deny(context.Background(), &sender{address: address}, &denial{deniedHandshake, err.Error()})
}

// httpErrors takes what net/http has to say of its connections, which is all that
// it tells of a handshake that failed, and passes the rest on.
type httpErrors struct {
	gate *gate
	next *zap.Logger
}

// Write implements [io.Writer] for a log.Logger without a prefix.
func (h httpErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok {
		address, why, _ := strings.Cut(rest, ": ")
		h.gate.handshakeFailed(address, errors.New(why))
	} else {
		h.next.Warn(text)
	}
	return len(line), nil
}
