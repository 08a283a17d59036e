package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/sensor/deliver"
)

// asSensor makes the test binary a sensor: the spool and the client of the real
// one, fed with events whose identities are known. It holds the [orders] as JSON.
const asSensor = "NETVIEW_FAULTS_SENSOR"

// orders to a sensor at its start.
type orders struct {
	SensorID, Endpoint, Spool string
	// Ledger gets a line for each append that returned: session, last number,
	// events made so far.
	Ledger string
	// EventsPerSecond that it makes.
	EventsPerSecond int
}

// Orders while it runs are lines of its input: "clock" and a duration, by which
// its wall clock is wrong from then on; and "finish", after which it makes
// nothing more, and ends when everything is settled.
const (
	orderClock  = "clock "
	orderFinish = "finish"
)

// period between two appends of events.
const period = 50 * time.Millisecond

func beSensor(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	client, err := deliver.NewClient(o.Endpoint, deliver.Security{})
	if err != nil {
		return err
	}
	defer client.Close()
	ledger, err := os.OpenFile(o.Ledger, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer ledger.Close()
	options := deliver.DefaultOptions()
	options.Client, options.Dir, options.Log = client, o.Spool, slog.New(slog.NewTextHandler(os.Stderr, nil))
	options.Resource = event.Resource{SensorID: o.SensorID, Session: uuid.New(), HostName: o.SensorID, Version: "faults"}
	options.RequestTimeout = 5 * time.Second // what is stopped goes on soon
	spool, err := deliver.Open(options)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() { spool.Run(ctx); close(ended) }()

	var skew atomic.Int64
	finish := make(chan struct{})
	go func() {
		defer close(finish)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if wrong, is := strings.CutPrefix(lines.Text(), orderClock); is {
				if d, err := time.ParseDuration(wrong); err == nil {
					skew.Store(int64(d))
				}
			} else if lines.Text() == orderFinish {
				return
			}
		}
	}()
	m := maker{resource: options.Resource, skew: &skew}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for n := 0; ; n++ {
		var last uint64
		if n%40 == 39 {
			snapshot := m.snapshot(20)
			spool.AppendSnapshot(snapshot)
			last = snapshot.Heartbeat.Sequence
		} else {
			events := m.events(max(1, o.EventsPerSecond*int(period)/int(time.Second)))
			spool.AppendEvents(events)
			last = events[len(events)-1].Env().Sequence
		}
		if _, err := fmt.Fprintln(ledger, options.Resource.Session, last, m.made); err != nil {
			return err
		}
		select {
		case <-ticker.C:
			continue
		case <-finish:
		}
		break
	}
	for status := spool.Status(); status.Events.Records > 0 || status.Waiting > 0; status = spool.Status() {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	<-ended
	return spool.Close()
}

// maker makes records that no two are alike.
type maker struct {
	resource event.Resource
	skew     *atomic.Int64
	made     uint64
	beats    uint64
}

func (m *maker) envelope() event.Envelope {
	return event.Envelope{Resource: m.resource, Timestamp: time.Now().Add(time.Duration(m.skew.Load())).UTC().Truncate(time.Microsecond)}
}

// events have a number of their own, beside the one that the spool gives, as
// their bytes sent.
func (m *maker) events(n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		m.made++
		events[i] = &event.NetworkFlow{Envelope: m.envelope(),
			Ends: event.Ends{Netns: 1, Transport: event.TransportTCP, Family: "ipv4", SourceAddress: netip.MustParseAddr("192.0.2.1"), SourcePort: uint16(m.made),
				DestinationAddress: netip.MustParseAddr("198.51.100.7"), DestinationPort: 443},
			Direction: event.DirectionOutbound, DirectionSource: "connect", BytesSent: event.Some(m.made), BytesReceived: event.Some(uint64(4711)), FinalState: event.FinalEstablished, FinalDetail: "fin",
			Process: event.Process{PID: event.Some(uint32(7)), Binary: "/usr/bin/faults", Name: "faults", User: "root"}}
	}
	return events
}

func (m *maker) snapshot(n int) *event.Snapshot {
	m.beats++
	envelope := m.envelope()
	s := &event.Snapshot{Heartbeat: &event.Heartbeat{Envelope: envelope, Heartbeat: m.beats, Connections: uint64(n), Mode: event.ModeEBPF, Interval: 40 * period}}
	for i := range n {
		s.Connections = append(s.Connections, &event.Connection{Envelope: envelope, Heartbeat: m.beats, Netns: 1, Family: "ipv4",
			LocalAddress: netip.MustParseAddr("192.0.2.1"), LocalPort: uint16(i), RemoteAddress: netip.MustParseAddr("198.51.100.7"), RemotePort: 443,
			State: "established", Direction: event.DirectionUnknown})
	}
	return s
}
