package deliver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// sentHeader carries the time of sending in Unix nanoseconds, outside the
// stored bytes, so that the receiver can tell clock skew from a backlog.
const sentHeader = "netview-sent-unix-nano"

func sentNow() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }

// maxMessage is the largest answer that is read, in bytes, and longestAnswer
// how much of a refusal is quoted.
const (
	maxMessage    = 1 << 20
	longestAnswer = 200
)

// Client sends OTLP logs requests to one endpoint.
type Client interface {
	// Send returns the answer to a request that was accepted, perhaps in part.
	// Its error is permanent where [Permanent] says so.
	Send(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error)
	Close() error
}

// NewClient returns a client for an endpoint: grpc://host:4317 for OTLP/gRPC,
// http://host:4318 for OTLP/HTTP in protobuf. It does not connect yet.
func NewClient(endpoint string) (Client, error) {
	u, err := url.Parse(endpoint)
	if err == nil && isHost(u) {
		switch u.Scheme {
		case "grpc":
			return newGRPC(u.Host)
		case "http":
			transport := http.DefaultTransport.(*http.Transport).Clone()
			transport.MaxIdleConnsPerHost = requestsInFlight // the default of 2 closes the others after each use
			return &httpClient{url: u.JoinPath("v1/logs").String(), client: &http.Client{Transport: transport}}, nil
		}
	}
	return nil, fmt.Errorf("OTLP endpoint %q is not valid: use grpc://HOST:4317 or http://HOST:4318", endpoint)
}

// isHost reports whether a URL is a host and a port, and nothing that would be
// ignored. A port is asked for since gRPC would try 443 without one.
func isHost(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port != 0 && u.Hostname() != "" && (u.Path == "" || u.Path == "/") && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// Permanent reports whether sending the same request again is pointless. The
// codes are those that the OTLP specification does not name as retryable, but
// for two: a refusal for identity may be a mistake that somebody mends, and
// Unknown is what errors have that tell nothing.
func Permanent(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.Unimplemented, codes.Internal, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition:
		return true
	}
	return false
}

// retryDelay is how long the collector asked to wait; 0 where it did not.
func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// withRetryDelay says in gRPC's words what HTTP says in a header.
func withRetryDelay(s *status.Status, delay time.Duration) *status.Status {
	if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}); err == nil {
		return detailed
	}
	return s
}

type grpcClient struct {
	conn *grpc.ClientConn
	logs plogotlp.GRPCClient
}

// A collector that vanished without a word, or froze, is noticed within one
// attempt: by then its connection must not be used for the next.
var alive = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}

// reconnect as often as requests are tried again: gRPC's own longest wait is two minutes.
var reconnect = grpc.ConnectParams{MinConnectTimeout: 20 * time.Second,
	Backoff: grpcbackoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestRetry}}

func newGRPC(host string) (*grpcClient, error) {
	// With its scheme, or a host called "unix" would be taken for one.
	conn, err := grpc.NewClient("dns:///"+url.PathEscape(host), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(alive), grpc.WithConnectParams(reconnect), grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	if err != nil {
		return nil, fmt.Errorf("OTLP endpoint %s: %w", host, err)
	}
	return &grpcClient{conn, plogotlp.NewGRPCClient(conn)}, nil
}

func (c *grpcClient) Send(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	return c.logs.Export(metadata.AppendToOutgoingContext(ctx, sentHeader, sentNow()), request)
}

func (c *grpcClient) Close() error { return c.conn.Close() }

type httpClient struct {
	url    string
	client *http.Client
}

func (c *httpClient) Send(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	response := plogotlp.NewExportResponse()
	body, err := request.MarshalProto()
	if err != nil {
		return response, status.Errorf(codes.Internal, "encoding the request: %v", err)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return response, status.Errorf(codes.Internal, "making the request: %v", err)
	}
	post.Header.Set("Content-Type", "application/x-protobuf")
	post.Header.Set(sentHeader, sentNow())
	answer, err := c.client.Do(post)
	if err != nil {
		return response, status.Errorf(codes.Unavailable, "sending to %s: %v", c.url, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if err != nil {
		return response, status.Errorf(codes.Unavailable, "reading the answer of %s: %v", c.url, err)
	}
	if answer.StatusCode != http.StatusOK {
		refusal := status.Newf(codeOf(answer.StatusCode), "%s answered %s: %s", c.url, answer.Status, strings.ToValidUTF8(string(text[:min(len(text), longestAnswer)]), "."))
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
			refusal = withRetryDelay(refusal, time.Duration(seconds)*time.Second)
		}
		return response, refusal.Err()
	}
	if err := response.UnmarshalProto(text); err != nil {
		return response, status.Errorf(codes.Unavailable, "the answer of %s is not OTLP: %v", c.url, err)
	}
	return response, nil
}

func (c *httpClient) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// codeOf follows the OTLP specification's table of HTTP codes that may be retried.
func codeOf(code int) codes.Code {
	switch code {
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return codes.Unavailable
	case http.StatusUnauthorized, http.StatusForbidden:
		return codes.PermissionDenied
	}
	return codes.InvalidArgument
}
