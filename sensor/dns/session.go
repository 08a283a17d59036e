package dns

import "github.com/netview-project/netview/event"

// Session returns the event of a session of DNS over TLS that a connect began, or
// nil where it began none. It has the connect's envelope, but for the sequence.
func Session(c *event.NetworkConnect) *event.DNSQuery {
	if c.Transport != event.TransportTCP || c.DestinationPort != portDoT || c.Result != event.ResultOK {
		return nil
	}
	q := &event.DNSQuery{Envelope: c.Envelope, Ends: c.Ends, Protocol: event.ProtocolDoT, Servers: []string{c.DestinationAddress.String()},
		Result: event.DNSEncrypted, Process: c.Process, ConnectionID: c.ConnectionID}
	q.Sequence = 0
	return q
}
