package deliver

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// refusedDir keeps what the collector refused for good, for people to look at.
const refusedDir = "refused"

// mostRefused bounds what is kept, in bytes; the oldest makes room.
const mostRefused = 16 << 20

// keepRefused puts a request aside: the request as it was sent (protobuf of
// OTLP logs, compressed by zstd), and beside it the reason. Nothing is lost with
// a failure to do so but the evidence.
func keepRefused(dir string, e *entry, reason error) error {
	dir = filepath.Join(dir, refusedDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping a refused request: %w", err)
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%s-%d-%d", e.Appended.UTC().Format("20060102T150405.000000"), e.Session, e.First, e.Last))
	if err := renameio.WriteFile(name+".pb.zst", e.body, 0o600, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("keeping a refused request: %w", err)
	}
	if err := renameio.WriteFile(name+".txt", []byte(reason.Error()+"\n"), 0o600, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("keeping a refused request: %w", err)
	}
	return trimRefused(dir)
}

func trimRefused(dir string) error {
	names, err := os.ReadDir(dir) // in order of age: the names begin with the time
	if err != nil {
		return fmt.Errorf("keeping refused requests: %w", err)
	}
	total := int64(0)
	for i := len(names) - 1; i >= 0; i-- {
		info, err := names[i].Info()
		if err != nil {
			continue
		}
		total += info.Size()
		if total > mostRefused {
			_ = os.Remove(filepath.Join(dir, names[i].Name()))
		}
	}
	return nil
}
