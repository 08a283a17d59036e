package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"go.opentelemetry.io/collector/config/configtls"
	"google.golang.org/grpc/credentials"
)

// Security is how a client knows its collector, and how it is known there. Its
// files are read anew for each connection, and the token for each request: who
// replaces one has nothing to restart.
type Security struct {
	// CAFile has the authorities, in PEM, that may have signed the collector's
	// certificate; empty for those of the host.
	CAFile string
	// CertFile and KeyFile show the collector who the client is.
	CertFile, KeyFile string
	// ServerName is whom the collector's certificate has to name; empty for the
	// endpoint's host.
	ServerName string
	// TokenFile has a bearer token.
	TokenFile string
}

// Check says what does not go together, or cannot be read.
func (s *Security) Check(endpoint string) error {
	secure := strings.HasPrefix(endpoint, "grpcs://") || strings.HasPrefix(endpoint, "https://")
	if !secure && *s != (Security{}) {
		return fmt.Errorf("OTLP endpoint %q is not encrypted, so certificates have no use there and a token would be for everybody to read: use grpcs://HOST:4317 or https://HOST:4318", endpoint)
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		return errors.New("a client certificate takes both its file and that of its key")
	}
	if !secure {
		return nil
	}
	if _, err := s.config(); err != nil {
		return err
	}
	_, err := s.token()
	return err
}

// config is that of one connection.
func (s *Security) config() (*tls.Config, error) {
	client := configtls.NewDefaultClientConfig()
	client.CAFile, client.CertFile, client.KeyFile, client.ServerName = s.CAFile, s.CertFile, s.KeyFile, s.ServerName
	config, err := client.LoadTLSConfig(context.Background())
	if err != nil {
		return nil, fmt.Errorf("the certificates for the collector: %w", err)
	}
	return config, nil
}

// token is the value of the header authorization; empty where there is none.
func (s *Security) token() (string, error) {
	if s.TokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return "", fmt.Errorf("the token for the collector: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the token for the collector: %s has to hold one line of letters, digits and signs", s.TokenFile)
	}
	return "Bearer " + token, nil
}

const authorization = "authorization"

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (s *Security) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := s.token()
	if err != nil || token == "" {
		return nil, err
	}
	return map[string]string{authorization: token}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials].
func (s *Security) RequireTransportSecurity() bool { return true }

// freshTLS are gRPC's credentials that read the files for each connection.
type freshTLS struct {
	credentials.TransportCredentials
	security *Security
}

func newFreshTLS(security *Security) freshTLS {
	return freshTLS{credentials.NewTLS(&tls.Config{ServerName: security.ServerName}), security}
}

// ClientHandshake implements [credentials.TransportCredentials].
func (f freshTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := f.security.config()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

// Clone implements [credentials.TransportCredentials].
func (f freshTLS) Clone() credentials.TransportCredentials { return f }

// dialTLS is the same for net/http.
func (s *Security) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
}
