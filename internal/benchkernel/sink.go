package main

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/netview-project/netview/event"
)

// sink is a collector that counts the events of one network namespace, and stores
// nothing.
type sink struct {
	http.Server
	address string
	netns   atomic.Uint64 // inode
	records atomic.Uint64
	// Of queries, those that are told to have no answer, and those of which it is not
	// known.
	unanswered, unfinished atomic.Uint64
}

func newSink() (*sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{address: listener.Addr().String()}
	s.Handler = http.HandlerFunc(s.take)
	go s.Serve(listener) // until Close
	return s, nil
}

func (s *sink) take(answer http.ResponseWriter, request *http.Request) {
	var body io.Reader = request.Body
	if request.Header.Get("Content-Encoding") == "zstd" {
		reader, err := zstd.NewReader(body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		defer reader.Close()
		body = reader
	}
	bytes, err := io.ReadAll(body)
	if err == nil {
		err = event.NewDecoder().Decode(bytes, func(r event.Record) {
			var netns uint64
			switch e := r.Event.(type) {
			case *event.NetworkConnect:
				netns = e.Netns
			case *event.NetworkAccept:
				netns = e.Netns
			case *event.NetworkFlow:
				netns = e.Netns
			case *event.DNSQuery:
				netns = e.Netns
			}
			if netns != s.netns.Load() {
				return
			}
			s.records.Add(1)
			if q, is := r.Event.(*event.DNSQuery); is {
				switch q.Result {
				case event.DNSNoAnswer:
					s.unanswered.Add(1)
				case event.DNSUnfinished:
					s.unfinished.Add(1)
				}
			}
		})
	}
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	answer.Header().Set("Content-Type", "application/x-protobuf") // an empty ExportLogsServiceResponse
}
