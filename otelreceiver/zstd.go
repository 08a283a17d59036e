package otelreceiver

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// Bounds of zstd. The Collector's own decoders take windows of up to 512 MiB,
// and allocate one for a request of 115 bytes that asks for it.
const (
	// largestWindow that is unpacked: what RFC 8878 tells every decoder to support.
	largestWindow = 8 << 20
	// mostUnpackers at a time. They unpack from memory to memory, so that no
	// sender can keep one by being slow.
	mostUnpackers = 4
)

var unpackers = func() chan *zstd.Decoder {
	c := make(chan *zstd.Decoder, mostUnpackers)
	for range mostUnpackers {
		c <- nil // made when it is first needed
	}
	return c
}()

// unzstd calls read with a reader of what is packed.
func unzstd(packed io.Reader, read func(io.Reader) error) (err error) {
	d := <-unpackers
	defer func() { unpackers <- d }()
	if d == nil {
		if d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(largestWindow)); err != nil {
			return err
		}
	}
	if err := d.Reset(packed); err != nil {
		return err
	}
	err = read(d)
	_ = d.Reset(nil) // lets go of what was packed
	return err
}

// zstdOverGRPC unpacks for gRPC: as a Decompressor of the server and not of
// gRPC's registry, which belongs to the whole process.
type zstdOverGRPC struct{ largest int64 } // message that is taken, in bytes

// Type implements [grpc.Decompressor].
func (zstdOverGRPC) Type() string { return "zstd" }

// Do implements [grpc.Decompressor]. gRPC refuses a message that is one byte too long.
func (z zstdOverGRPC) Do(packed io.Reader) (message []byte, err error) {
	err = unzstd(packed, func(r io.Reader) (err error) {
		message, err = io.ReadAll(io.LimitReader(r, z.largest+1))
		return err
	})
	return message, err
}

// zstdOverHTTP is confighttp's decoder that leaves a body as it is: the handler
// unpacks it.
func zstdOverHTTP(io.ReadCloser) (io.ReadCloser, error) { return nil, nil }
