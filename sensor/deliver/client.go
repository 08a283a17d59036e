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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// sentHeader carries the time of sending in Unix nanoseconds, outside the
// stored bytes, so that the receiver can tell clock skew from a backlog.
const sentHeader = "netview-sent-unix-nano"

func sentNow() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }

// maxMessage is the largest answer that is read, in bytes.
const maxMessage = 1 << 20

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
	if err == nil && u.Host != "" && (u.Path == "" || u.Path == "/") {
		switch u.Scheme {
		case "grpc":
			return newGRPC(u.Host)
		case "http":
			return &httpClient{url: "http://" + u.Host + "/v1/logs", client: &http.Client{}}, nil
		}
	}
	return nil, fmt.Errorf("OTLP endpoint %q is not valid: use grpc://HOST:4317 or http://HOST:4318", endpoint)
}

// Permanent reports whether sending the same request again is pointless. The
// codes are those that the OTLP specification does not name as retryable; a
// refusal for identity is not among them, since it may be a mistake that
// somebody mends.
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

func newGRPC(host string) (*grpcClient, error) {
	conn, err := grpc.NewClient(host, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
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
		refusal := status.Newf(codeOf(answer.StatusCode), "%s answered %s: %s", c.url, answer.Status, strings.ToValidUTF8(string(text), "."))
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
