package otelreceiver

import (
	"context"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// fileInterval is how often the files that may change while the receiver runs are
// looked at: what is revoked in the access file is refused within this time.
const fileInterval = time.Second

// Files that are read again, in the words of netview_receiver_unreadable_files.
const (
	fileAccess = "access_file"
	fileTLS    = "tls" // certificate, key and client_ca_file of a protocol
)

// files says which of them cannot be read any more: in the log once for each error,
// in the metrics for as long as it lasts.
type files struct {
	telemetry *metadata.Telemetry
	log       *zap.Logger
	failed    map[string]string // errors that the log has told, by key of the configuration
}

// looked tells the outcome of a look at the files of a key; meanwhile is what holds
// while they cannot be read.
func (f *files) looked(file, key string, err error, meanwhile string) {
	last, failed := f.failed[key]
	attributes := metric.WithAttributes(attribute.String("file", file))
	switch {
	case err == nil && failed:
		delete(f.failed, key)
		f.telemetry.Unreadable.Add(context.Background(), -1, attributes)
		f.log.Info("A file can be read again", zap.String("key", key))
	case err != nil && !failed:
		f.telemetry.Unreadable.Add(context.Background(), 1, attributes)
	}
	if err != nil && err.Error() != last {
		f.failed[key] = err.Error()
		f.log.Error("A file cannot be read: "+meanwhile, zap.String("key", key), zap.Error(err))
	}
}

// watchFiles looks at the files until ctx ends. Certificates the Collector reads by
// itself, when a connection is made; it says to nobody but the one who connects that
// it could not.
func (r *netviewReceiver) watchFiles(ctx context.Context) {
	f := &files{telemetry: r.telemetry, log: r.settings.Logger, failed: map[string]string{}}
	path := r.config.Identity.AccessFile
	seen, _ := os.Stat(path)
	ticker := time.NewTicker(fileInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if path != "" {
			next, now, err := rereadAccess(path, seen)
			f.looked(fileAccess, "identity::access_file", err, "what it said before holds")
			if seen = now; next != nil {
				r.gate.access.Store(next)
				r.settings.Logger.Info("Read the access file", zap.String("file", path), zap.Int("revoked", len(next.revoked)), zap.Int("relays", len(next.relays)))
			}
		}
		for _, t := range r.config.trusts() {
			if t.tls != nil {
				_, err := t.tls.LoadTLSConfig(ctx)
				f.looked(fileTLS, "protocols::"+t.protocol+"::tls", err, "without certificate and key no new connection is let in; a client_ca_file holds as it was")
			}
		}
	}
}
