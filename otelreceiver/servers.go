package otelreceiver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	component "github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// message is a request or an answer in protobuf form. A request stays so until
// the intake decodes it, in the buffer in which gRPC received it.
type message struct{ buffer mem.Buffer }

// wireCodec hands messages through as they are.
type wireCodec struct{}

// Name implements [encoding.CodecV2]: on the wire this is protobuf.
func (wireCodec) Name() string { return "proto" }

// Marshal implements [encoding.CodecV2].
func (wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{v.(*message).buffer}, nil
}

// Unmarshal implements [encoding.CodecV2].
func (wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*message).buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

const logsServiceName = "opentelemetry.proto.collector.logs.v1.LogsService"

// logsService is OTLP/gRPC's LogsService over [wireCodec]. Export stands here as a
// stream of one message: on the wire that is the same, but gRPC calls the handler
// of a stream before it reads the message, and that of a call only afterwards,
// when any number of them may be in memory.
var logsService = grpc.ServiceDesc{
	ServiceName: logsServiceName,
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Export", Handler: func(server any, stream grpc.ServerStream) error {
		return server.(*grpcServer).export(stream)
	}}},
	Metadata: "opentelemetry/proto/collector/logs/v1/logs_service.proto",
}

// longestReceipt of one request, from its first byte to its last. While a request
// is received it takes room, which a sender that is gone must not keep.
const longestReceipt = time.Minute

func late(receipt time.Duration) error {
	return status.Errorf(codes.DeadlineExceeded, "the request did not arrive within %v", receipt)
}

// grpcServer answers OTLP/gRPC.
type grpcServer struct {
	intake   *intake
	observer *receiverhelper.ObsReport
	gate     *gate // nil without client certificates
	door     *door
	largest  int64         // message that gRPC reads, in bytes
	receipt  time.Duration // longest, as longestReceipt
}

// Windows of HTTP/2. They are fixed, for gRPC would let that of a stream grow to
// 16 MiB, which a sender may fill before the message is read. For a message that
// is read gRPC opens the stream's window as far as it needs; the connection's is
// refilled at once, and so bounds no more than the speed of one sender.
const (
	streamWindow     = 64 << 10
	connectionWindow = 4 << 20
	headerBytes      = 64 << 10 // of one request; gRPC would take 16 MiB
)

// grpcOptions bound what gRPC keeps in memory by itself.
func grpcOptions(largest int64) []configgrpc.ToServerOption {
	var options []configgrpc.ToServerOption
	for _, option := range []grpc.ServerOption{
		grpc.ForceServerCodecV2(wireCodec{}),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxHeaderListSize(headerBytes),
		grpc.RPCDecompressor(zstdOverGRPC{largest}), //nolint:staticcheck // the alternative is one for the whole process
	} {
		options = append(options, configgrpc.WithGrpcServerOption(option))
	}
	return options
}

func (s *grpcServer) export(stream grpc.ServerStream) error {
	ctx := s.observer.StartLogsOp(stream.Context())
	response, records, err := s.take(ctx, stream)
	s.observer.EndLogsOp(ctx, component.Type.String(), records, err)
	if err != nil {
		return err
	}
	bytes, err := response.MarshalProto()
	if err != nil {
		return err
	}
	return stream.SendMsg(&message{mem.SliceBuffer(bytes)})
}

func (s *grpcServer) take(ctx context.Context, stream grpc.ServerStream) (response plogotlp.ExportResponse, records int, err error) {
	sender := s.gate.ofGRPC(ctx)
	sensor, err := sender.admit(ctx)
	if err != nil {
		return response, 0, s.intake.answer(ctx, answerDenied, err)
	}
	s.door.letIn(sender.address, sensor)
	share := s.intake.budget.shareOf(sensor)
	defer share.end()
	// How long the message is, nobody knows before it is there.
	if err := share.grow(ctx, s.largest); err != nil {
		return response, 0, s.intake.answer(ctx, answerOverloaded, err)
	}
	body, err := s.receive(stream)
	if err != nil {
		return response, 0, s.intake.answer(ctx, answerFailed, err)
	}
	share.shrink(int64(body.Len()))
	sent := ""
	if values := metadata.ValueFromIncomingContext(ctx, SentHeader); len(values) > 0 {
		sent = values[0]
	}
	return s.intake.take(ctx, sender, body.ReadOnlyData(), body.Free, sent)
}

// receive reads the message of a stream.
func (s *grpcServer) receive(stream grpc.ServerStream) (mem.Buffer, error) {
	request := &message{}
	received := make(chan error, 1)
	go func() { received <- stream.RecvMsg(request) }()
	select {
	case err := <-received:
		return request.buffer, err
	case <-time.After(s.receipt):
		// With the answer the stream ends, and so the read.
		return nil, late(s.receipt)
	}
}

// httpServer is OTLP/HTTP's /v1/logs in protobuf and JSON. The Collector's
// confighttp has decompressed the body and bounded its size.
type httpServer struct {
	intake   *intake
	observer *receiverhelper.ObsReport
	gate     *gate // nil without client certificates
	door     *door
	largest  int64         // body that confighttp lets through, in bytes
	receipt  time.Duration // longest, as longestReceipt
}

const (
	protobufType = "application/x-protobuf"
	jsonType     = "application/json"
)

func (s *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "method "+r.Method+" is not allowed: use POST", http.StatusMethodNotAllowed)
		return
	}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType != protobufType && mediaType != jsonType {
		http.Error(w, "content type "+strconv.Quote(mediaType)+" is not supported: use "+protobufType+" or "+jsonType, http.StatusUnsupportedMediaType)
		return
	}
	ctx := s.observer.StartLogsOp(r.Context())
	response, records, err := s.take(ctx, w, r, mediaType)
	s.observer.EndLogsOp(ctx, component.Type.String(), records, err)
	if err != nil {
		answer := status.Convert(err)
		code := httpCode(answer.Code())
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		writeStatus(w, mediaType, answer, code)
		return
	}
	var text []byte
	if mediaType == jsonType {
		text, err = response.MarshalJSON()
	} else {
		text, err = response.MarshalProto()
	}
	if err != nil {
		writeStatus(w, mediaType, status.New(codes.Internal, err.Error()), http.StatusInternalServerError)
		return
	}
	write(w, mediaType, http.StatusOK, text)
}

func (s *httpServer) take(ctx context.Context, w http.ResponseWriter, r *http.Request, mediaType string) (response plogotlp.ExportResponse, records int, err error) {
	sender := s.gate.ofHTTP(r)
	sensor, err := sender.admit(ctx)
	if err != nil {
		return response, 0, s.intake.answer(ctx, answerDenied, err)
	}
	s.door.letIn(sender.address, sensor)
	share := s.intake.budget.shareOf(sensor)
	defer share.end()
	refuse := func(err error) (plogotlp.ExportResponse, int, error) {
		answer := answerFailed
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = late(s.receipt)
		} else if _, ok := status.FromError(err); !ok {
			err = status.Errorf(codes.InvalidArgument, "reading the body: %v", err)
		}
		if status.Code(err) == codes.ResourceExhausted {
			answer = answerOverloaded
		}
		return response, 0, s.intake.answer(ctx, answer, err)
	}
	// HTTP has no deadline of its own for a body.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(s.receipt))
	body, err := readBody(ctx, r.Body, s.largest, share)
	_ = connection.SetReadDeadline(time.Time{})
	if err == nil && r.Header.Get("Content-Encoding") == "zstd" {
		err = unzstd(bytes.NewReader(body), func(unpacked io.Reader) (err error) {
			body, err = readBody(ctx, http.MaxBytesReader(w, io.NopCloser(unpacked), s.largest), s.largest, share)
			return err
		})
	}
	if err != nil {
		return refuse(err)
	}
	share.shrink(int64(len(body)))
	if mediaType == jsonType {
		if body, err = fromJSON(ctx, body, share); err != nil {
			return refuse(err)
		}
	}
	return s.intake.take(ctx, sender, body, func() {}, r.Header.Get(SentHeader))
}

// readBody reads to the end, at most largest bytes, and takes room before each step.
func readBody(ctx context.Context, r io.Reader, largest int64, share *share) ([]byte, error) {
	var body []byte
	for {
		if len(body) == cap(body) {
			size := min(max(2*int64(cap(body)), 64<<10), largest)
			if err := share.grow(ctx, max(size-share.held, 0)); err != nil {
				return nil, err
			}
			// One byte more, so that the end of the largest body is seen.
			body = append(make([]byte, 0, size+1), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, &requestError{status.Newf(codes.InvalidArgument, "reading the body: %v", err), err}
		}
	}
}

// requestError is a status with what it comes from.
type requestError struct {
	status *status.Status
	cause  error
}

func (e *requestError) Error() string              { return e.status.Message() }
func (e *requestError) Unwrap() error              { return e.cause }
func (e *requestError) GRPCStatus() *status.Status { return e.status }

// bytesPerValue that JSON names takes in the form in which the Collector reads
// it: three bytes make an empty record.
const bytesPerValue = 128

// fromJSON turns a request into its protobuf form.
func fromJSON(ctx context.Context, body []byte, share *share) ([]byte, error) {
	held := share.held
	values := int64(bytes.Count(body, []byte(",")))
	if cost := values * bytesPerValue; held+cost > share.limit() {
		return nil, status.Errorf(codes.InvalidArgument, "%d values of JSON take more than max_in_flight_mib: send less at a time, or protobuf", values)
	} else if err := share.grow(ctx, cost); err != nil {
		return nil, err
	}
	defer share.shrink(held)
	request := plogotlp.NewExportRequest()
	err := request.UnmarshalJSON(body)
	if err == nil {
		body, err = request.MarshalProto()
	}
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the body is not an OTLP logs request: %v", err)
	}
	return body, nil
}

// httpCode follows the OTLP specification's table of what may be retried.
func httpCode(code codes.Code) int {
	switch code {
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return http.StatusServiceUnavailable
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.PermissionDenied:
		return http.StatusForbidden
	default:
		return http.StatusInternalServerError
	}
}

// httpError is how confighttp answers what it refuses by itself.
func httpError(w http.ResponseWriter, r *http.Request, message string, code int) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	writeStatus(w, mediaType, status.New(codes.InvalidArgument, message), code)
}

func writeStatus(w http.ResponseWriter, mediaType string, s *status.Status, code int) {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(info.GetRetryDelay().AsDuration().Seconds())))
		}
	}
	marshal := protojson.Marshal
	if mediaType == protobufType {
		marshal = proto.Marshal
	} else {
		mediaType = jsonType
	}
	text, err := marshal(s.Proto())
	if err != nil {
		http.Error(w, s.Message(), code)
		return
	}
	write(w, mediaType, code, text)
}

func write(w http.ResponseWriter, mediaType string, code int, text []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(code)
	_, _ = w.Write(text) // a sender that is gone cannot be told
}
