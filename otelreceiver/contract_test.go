package otelreceiver

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/netview-project/netview/internal/testch"
)

// foreignSender sends log records that are not netview's, as any OTLP exporter
// does: it repeats what may be repeated, and gives up what is refused.
type foreignSender struct {
	t       *testing.T
	address string
	conn    *grpc.ClientConn
	last    atomic.Int64
	refused atomic.Int64
}

func (s *foreignSender) Start() {
	var err error
	if s.conn, err = grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		s.t.Fatal(err)
	}
}

func (s *foreignSender) Stop() { s.conn.Close() }

func (s *foreignSender) Generate() []receivertest.UniqueIDAttrVal {
	id := receivertest.UniqueIDAttrVal(strconv.FormatInt(s.last.Add(1), 10))
	request := plogotlp.NewExportRequestFromLogs(receivertest.CreateOneLogWithID(id))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		response, err := plogotlp.NewGRPCClient(s.conn).Export(context.Background(), request)
		switch code := status.Code(err); {
		case err == nil:
			s.refused.Add(response.PartialSuccess().RejectedLogRecords())
		case (code == codes.Unavailable || code == codes.ResourceExhausted) && time.Now().Before(deadline):
			continue
		default:
			s.t.Error(err)
		}
		return []receivertest.UniqueIDAttrVal{id}
	}
}

// TestConsumeContract is the Collector's own check of what a receiver and the
// pipeline behind it owe each other: a record is lost neither by a retryable
// error nor by a permanent one of others, and is sent on once.
func TestConsumeContract(t *testing.T) {
	config := testConfig(t, testch.Start(t))
	config.Forward = true
	sender := &foreignSender{t: t, address: config.Protocols.GRPC.Get().NetAddr.Endpoint}
	receivertest.CheckConsumeContract(receivertest.CheckConsumeContractParams{T: t, Factory: NewFactory(), Signal: pipeline.SignalLogs,
		Config: config, Generator: sender, GenerateCount: 1000})
	if sender.refused.Load() == 0 {
		t.Error("no record was refused, though the pipeline has refused some for good")
	}
}
