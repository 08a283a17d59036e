// Package testzstd lets gRPC servers of tests understand zstd, as those of a
// Collector do.
package testzstd

import (
	"io"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"
)

type codec struct{}

func init() { encoding.RegisterCompressor(codec{}) }

func (codec) Name() string                                           { return "zstd" }
func (codec) Compress(w io.Writer) (io.WriteCloser, error)           { return zstd.NewWriter(w) }
func (codec) Decompress(r io.Reader) (unpacked io.Reader, err error) { return zstd.NewReader(r) }
