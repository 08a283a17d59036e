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
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
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
	// Send returns the answer to a request that was accepted, perhaps in part. The
	// request is the protobuf of an ExportLogsServiceRequest, compressed by zstd.
	// Its error is permanent where [Permanent] says so.
	Send(ctx context.Context, request []byte) (plogotlp.ExportResponse, error)
	Close() error
}

// NewClient returns a client for an endpoint: grpc://host:4317 for OTLP/gRPC,
// http://host:4318 for OTLP/HTTP in protobuf; grpcs and https over TLS. It does
// not connect yet.
func NewClient(endpoint string, security Security) (Client, error) {
	if err := security.Check(endpoint); err != nil {
		return nil, err
	}
	u, err := url.Parse(endpoint)
	if err == nil && isHost(u) {
		switch u.Scheme {
		case "grpc":
			return newGRPC(u.Host, nil)
		case "grpcs":
			return newGRPC(u.Host, &security)
		case "http", "https":
			transport := http.DefaultTransport.(*http.Transport).Clone()
			transport.MaxIdleConnsPerHost = eventsInFlight + snapshotsInFlight // the default of 2 closes the others after each use
			transport.DialTLSContext = security.dialTLS
			return &httpClient{url: u.JoinPath("v1/logs").String(), security: security, client: &http.Client{Transport: transport}}, nil
		}
	}
	return nil, fmt.Errorf("OTLP endpoint %q is not valid: use grpc://HOST:4317 or http://HOST:4318, or grpcs and https over TLS", endpoint)
}

// isHost reports whether a URL is a host and a port, and nothing that would be
// ignored. A port is asked for since gRPC would try 443 without one.
func isHost(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port != 0 && u.Hostname() != "" && (u.Path == "" || u.Path == "/") && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// Permanent reports whether sending the same request again is pointless. The
// codes are those that the OTLP specification does not name as retryable, but
// for what somebody may mend, since a spool once thrown away is gone: a refusal
// for identity, and an endpoint that is no OTLP receiver or does not know zstd
// (Unimplemented, NotFound). Unknown is what errors have that tell nothing.
func Permanent(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.Internal, codes.AlreadyExists, codes.FailedPrecondition:
		return true
	}
	return false
}

// denied reports whether a collector refuses a request for who sends it.
func denied(err error) bool {
	code := status.Code(err)
	return code == codes.PermissionDenied || code == codes.Unauthenticated
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
	host     string
	security *Security // nil without TLS

	mutex   sync.Mutex
	conn    *grpc.ClientConn // nil once it is closed
	renewed time.Time
}

// A collector that vanished without a word, or froze, is noticed within one
// attempt: by then its connection must not be used for the next.
var alive = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}

// reconnect as often as requests are tried again: gRPC's own longest wait is two minutes.
var reconnect = grpc.ConnectParams{MinConnectTimeout: 20 * time.Second,
	Backoff: grpcbackoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestRetry}}

func newGRPC(host string, security *Security) (*grpcClient, error) {
	c := &grpcClient{host: host, security: security}
	var err error
	c.conn, err = c.dial()
	return c, err
}

func (c *grpcClient) dial() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithKeepaliveParams(alive), grpc.WithConnectParams(reconnect), grpc.WithCompressor(packed{}), grpc.WithDecompressor(unpacker{})}
	if c.security == nil {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		options = append(options, grpc.WithTransportCredentials(newFreshTLS(c.security)), grpc.WithPerRPCCredentials(c.security))
	}
	// With its scheme, or a host called "unix" would be taken for one.
	conn, err := grpc.NewClient("dns:///"+url.PathEscape(c.host), options...)
	if err != nil {
		return nil, fmt.Errorf("OTLP endpoint %s: %w", c.host, err)
	}
	return conn, nil
}

// renew leaves a connection on which the collector denies what is sent: it may be
// for a certificate that has expired since, and been replaced. What else is under
// way on it is sent again.
func (c *grpcClient) renew(conn *grpc.ClientConn) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.conn != conn || c.security == nil || time.Since(c.renewed) < longestRetry {
		return
	}
	next, err := c.dial()
	if err != nil {
		return // the one that is there does as well
	}
	c.conn, c.renewed = next, time.Now()
	_ = conn.Close() // of what it has to say nothing is of use
}

func (c *grpcClient) current() (*grpc.ClientConn, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.conn == nil {
		return nil, status.Error(codes.Canceled, "the client is closed")
	}
	return c.conn, nil
}

func (c *grpcClient) Send(ctx context.Context, request []byte) (plogotlp.ExportResponse, error) {
	response := plogotlp.NewExportResponse()
	conn, err := c.current()
	if err != nil {
		return response, err
	}
	var answer []byte
	ctx = metadata.AppendToOutgoingContext(ctx, sentHeader, sentNow())
	if err := conn.Invoke(ctx, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", request, &answer, grpc.ForceCodecV2(bytesCodec{})); err != nil {
		if denied(err) {
			c.renew(conn)
		}
		return response, err
	}
	if err := response.UnmarshalProto(answer); err != nil {
		return response, status.Errorf(codes.Unavailable, "the answer of %s is not OTLP: %v", conn.Target(), err)
	}
	return response, nil
}

// bytesCodec passes on messages that are encoded already.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// packed says of requests, which are compressed already, that they are; unpacker
// unpacks the answers to them. grpc.WithCompressor is deprecated in favour of a
// compressor for the whole process, which this must not be: others in it may
// mean zstd to compress.
type (
	packed   struct{}
	unpacker struct{}
)

func (packed) Type() string   { return zstdName }
func (unpacker) Type() string { return zstdName }

func (packed) Do(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

func (unpacker) Do(r io.Reader) ([]byte, error) {
	answer, err := io.ReadAll(io.LimitReader(r, maxMessage))
	if err != nil {
		return nil, err
	}
	return answers.DecodeAll(answer, nil)
}

var answers = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxMessage)))

// zstdName is zstd as a grpc-encoding and as a Content-Encoding.
const zstdName = "zstd"

func (c *grpcClient) Close() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

type httpClient struct {
	url      string
	security Security
	client   *http.Client
}

func (c *httpClient) Send(ctx context.Context, request []byte) (plogotlp.ExportResponse, error) {
	response := plogotlp.NewExportResponse()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(request))
	if err != nil {
		return response, status.Errorf(codes.Internal, "making the request: %v", err)
	}
	post.Header.Set("Content-Type", "application/x-protobuf")
	post.Header.Set("Content-Encoding", zstdName)
	post.Header.Set(sentHeader, sentNow())
	token, err := c.security.token()
	if err != nil {
		return response, status.Error(codes.Unauthenticated, err.Error())
	}
	if token != "" {
		post.Header.Set(authorization, token)
	}
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
		if denied(refusal.Err()) {
			c.client.CloseIdleConnections() // as grpcClient.renew does
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

// codeOf follows the OTLP specification's table of HTTP codes that may be
// retried, and adds what an endpoint answers that is no OTLP receiver.
func codeOf(code int) codes.Code {
	switch code {
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return codes.Unavailable
	case http.StatusUnauthorized, http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		return codes.Unimplemented
	}
	return codes.InvalidArgument
}

// Ask sends a request without records: its answer says that the collector is there.
func Ask(ctx context.Context, client Client) error {
	_, err := client.Send(ctx, compressor.EncodeAll(nil, nil))
	return err
}
