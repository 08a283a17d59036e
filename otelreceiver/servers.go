package otelreceiver

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	component "github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// grpcServer is OTLP/gRPC's LogsService.
type grpcServer struct {
	plogotlp.UnimplementedGRPCServer
	intake   *intake
	observer *receiverhelper.ObsReport
}

func (s *grpcServer) Export(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	sent := ""
	if values := metadata.ValueFromIncomingContext(ctx, SentHeader); len(values) > 0 {
		sent = values[0]
	}
	logs := request.Logs()
	size := (&plog.ProtoMarshaler{}).LogsSize(logs)
	return observed(ctx, s.observer, s.intake, logs, int64(size), sent)
}

func observed(ctx context.Context, observer *receiverhelper.ObsReport, in *intake, logs plog.Logs, size int64, sent string) (plogotlp.ExportResponse, error) {
	records := logs.LogRecordCount()
	ctx = observer.StartLogsOp(ctx)
	response, err := in.take(ctx, logs, size, sent)
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
	request := plogotlp.NewExportRequest()
	if mediaType == jsonType {
		err = request.UnmarshalJSON(body)
	} else {
		err = request.UnmarshalProto(body)
	}
	if err != nil {
		writeStatus(w, mediaType, status.Newf(codes.InvalidArgument, "the body is not an OTLP logs request: %v", err), http.StatusBadRequest)
		return
	}
	response, err := observed(r.Context(), s.observer, s.intake, request.Logs(), int64(len(body)), r.Header.Get(SentHeader))
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
