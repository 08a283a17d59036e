package otelreceiver

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"

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

// logsService is OTLP/gRPC's LogsService over [wireCodec].
var logsService = grpc.ServiceDesc{
	ServiceName: logsServiceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: handleExport}},
	Metadata:    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
}

func handleExport(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	request := &message{}
	if err := decode(request); err != nil {
		return nil, err
	}
	export := func(ctx context.Context, request any) (any, error) {
		return server.(*grpcServer).export(ctx, request.(*message))
	}
	if interceptor == nil {
		return export(ctx, request)
	}
	info := &grpc.UnaryServerInfo{Server: server, FullMethod: "/" + logsServiceName + "/Export"}
	return interceptor(ctx, request, info, export)
}

// grpcServer answers OTLP/gRPC.
type grpcServer struct {
	intake   *intake
	observer *receiverhelper.ObsReport
}

func (s *grpcServer) export(ctx context.Context, request *message) (*message, error) {
	sent := ""
	if values := metadata.ValueFromIncomingContext(ctx, SentHeader); len(values) > 0 {
		sent = values[0]
	}
	body := request.buffer
	// Not held while the commit is waited for.
	request.buffer = nil
	response, err := observed(ctx, s.observer, s.intake, body.ReadOnlyData(), body.Free, sent)
	if err != nil {
		return nil, err
	}
	bytes, err := response.MarshalProto()
	return &message{mem.SliceBuffer(bytes)}, err
}

func observed(ctx context.Context, observer *receiverhelper.ObsReport, in *intake, body []byte, free func(), sent string) (plogotlp.ExportResponse, error) {
	ctx = observer.StartLogsOp(ctx)
	response, records, err := in.take(ctx, body, free, sent)
	observer.EndLogsOp(ctx, component.Type.String(), records, err)
	return response, err
}

// httpServer is OTLP/HTTP's /v1/logs in protobuf and JSON. The Collector's
// confighttp has decompressed the body and bounded its size.
type httpServer struct {
	intake   *intake
	observer *receiverhelper.ObsReport
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
	body, err := io.ReadAll(r.Body)
	if err != nil {
		writeStatus(w, mediaType, status.Newf(codes.InvalidArgument, "reading the body: %v", err), http.StatusBadRequest)
		return
	}
	if mediaType == jsonType {
		request := plogotlp.NewExportRequest()
		if err = request.UnmarshalJSON(body); err == nil {
			body, err = request.MarshalProto()
		}
		if err != nil {
			writeStatus(w, mediaType, status.Newf(codes.InvalidArgument, "the body is not an OTLP logs request: %v", err), http.StatusBadRequest)
			return
		}
	}
	response, err := observed(r.Context(), s.observer, s.intake, body, func() {}, r.Header.Get(SentHeader))
	if err != nil {
		answer := status.Convert(err)
		writeStatus(w, mediaType, answer, httpCode(answer.Code()))
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

// httpCode follows the OTLP specification's table of what may be retried.
func httpCode(code codes.Code) int {
	switch code {
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return http.StatusServiceUnavailable
	case codes.InvalidArgument:
		return http.StatusBadRequest
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
