package dns

import (
	"encoding/binary"
	"slices"
	"time"
)

// What is kept of a stream of TCP, beside the limits of all.
const (
	// idle is how long a stream is remembered, so that what is sent again is known.
	idle = 2 * time.Minute
	// mostAhead is how many segments of a stream are kept that came before their turn.
	mostAhead = 64
)

// streams puts the segments of TCP connections in order, and cuts them into messages:
// each has its length before it (RFC 1035, 4.2.2).
type streams struct {
	limits  Limits
	lost    map[string]uint64
	deliver func(p *Packet, message []byte)

	known map[streamKey]*stream
	// oldest and newest by their last segment.
	oldest, newest *stream
	buffered       int
}

type streamKey struct {
	socket uint64
	sent   bool
}

// stream is one direction of a connection.
type stream struct {
	key streamKey
	// next is the sequence number that is expected.
	next uint32
	// lost says that it is not known where a message begins: bytes are missing, or
	// they made no sense.
	lost bool
	// partial is a message that has not come whole.
	partial []byte
	// ahead are segments before whose bytes others are missing, since a time.
	ahead        []segment
	missingSince time.Duration
	last         time.Duration // segment
	older, newer *stream
}

type segment struct {
	sequence uint32
	data     []byte
}

// take a segment.
func (s *streams) take(p *Packet) {
	if len(p.Data) == 0 {
		return
	}
	key := streamKey{p.Socket, p.Sent}
	st := s.known[key]
	if st == nil {
		for len(s.known) >= s.limits.Streams {
			s.evict()
		}
		st = &stream{key: key, next: p.Sequence}
		s.known[key] = st
	} else {
		s.unlink(st)
	}
	st.last = p.At
	s.link(st)
	if len(st.ahead) > 0 && (p.At-st.missingSince > wait || len(st.ahead) == mostAhead) {
		s.skip(st, p)
	}
	s.order(st, p, p.Sequence, p.Data)
	for s.buffered > s.limits.Buffered {
		s.evict()
	}
}

// early is how many bytes a sequence number is ahead of the one that is expected; less
// than 0 for one that was there.
func (st *stream) early(sequence uint32) int { return int(int32(sequence - st.next)) }

// order feeds a segment if it is its turn, and those that waited for it.
func (s *streams) order(st *stream, p *Packet, sequence uint32, data []byte) {
	switch early := st.early(sequence); {
	case early > 0:
		if len(st.ahead) == 0 {
			st.missingSince = p.At
		}
		st.ahead = append(st.ahead, segment{sequence, append([]byte(nil), data...)})
		s.buffered += len(data)
		return
	case -early >= len(data): // sent again
		return
	default:
		data = data[-early:]
	}
	st.next += uint32(len(data))
	s.feed(st, p, data)
	s.catchUp(st, p)
}

// catchUp feeds the segments whose turn it is, and forgets those that came twice.
func (s *streams) catchUp(st *stream, p *Packet) {
	for i := 0; i < len(st.ahead); {
		a := st.ahead[i]
		early := st.early(a.sequence)
		if early > 0 {
			i++
			continue
		}
		st.ahead = slices.Delete(st.ahead, i, i+1)
		s.buffered -= len(a.data)
		if -early < len(a.data) {
			st.next += uint32(len(a.data) + early)
			s.feed(st, p, a.data[-early:])
			i = 0 // another may follow it
			st.missingSince = p.At
		}
	}
}

// skip gives up bytes that did not come, and goes on with the first that did.
func (s *streams) skip(st *stream, p *Packet) {
	s.lost[CauseStreamGap]++
	s.lose(st)
	first := st.ahead[0].sequence
	for _, a := range st.ahead {
		if int32(a.sequence-first) < 0 {
			first = a.sequence
		}
	}
	st.next = first
	s.catchUp(st, p)
}

// lose forgets what came of a message, and where the next one begins.
func (s *streams) lose(st *stream) {
	s.buffered -= len(st.partial)
	st.partial, st.lost = nil, true
}

// feed takes bytes in order.
func (s *streams) feed(st *stream, p *Packet, data []byte) {
	if st.lost {
		if !begins(data, st.key.sent) {
			return
		}
		st.lost = false
	}
	if len(st.partial) > 0 {
		st.partial = append(st.partial, data...)
		s.buffered += len(data)
		data = st.partial
	}
	rest := data
	for len(rest) >= 2 {
		if !begins(rest, st.key.sent) {
			s.lost[CauseStreamMalformed]++
			s.lose(st)
			return
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		if end > len(rest) {
			break
		}
		s.deliver(p, rest[2:end])
		rest = rest[end:]
	}
	s.buffered += len(rest) - len(st.partial)
	switch {
	case len(rest) == 0:
		st.partial = nil
	case len(rest) != len(st.partial): // else nothing of it is done
		st.partial = append(st.partial[:0], rest...)
	}
}

// begins reports whether bytes may begin with a message and its length. A segment
// in the middle of a message hardly ever looks so.
func begins(data []byte, sent bool) bool {
	if len(data) >= 2 && binary.BigEndian.Uint16(data) < sizeOfHeader {
		return false
	}
	const flags = 4 // after the length and the ID
	return len(data) <= flags || data[flags]&0x80 == 0 == sent
}

// tick forgets the streams that have been idle.
func (s *streams) tick(now time.Duration) {
	for s.oldest != nil && now-s.oldest.last > idle {
		s.forget(s.oldest, CauseStreamGap)
	}
}

// evict forgets the oldest stream for want of room.
func (s *streams) evict() { s.forget(s.oldest, CauseStreamEvicted) }

// forget a stream, which is a loss under a cause if something of it waits.
func (s *streams) forget(st *stream, cause string) {
	if len(st.partial) > 0 || len(st.ahead) > 0 {
		s.lost[cause]++
	}
	s.buffered -= len(st.partial)
	for _, a := range st.ahead {
		s.buffered -= len(a.data)
	}
	s.unlink(st)
	delete(s.known, st.key)
}

func (s *streams) link(st *stream) {
	if st.older, st.newer = s.newest, nil; s.newest != nil {
		s.newest.newer = st
	} else {
		s.oldest = st
	}
	s.newest = st
}

func (s *streams) unlink(st *stream) {
	if st.older != nil {
		st.older.newer = st.newer
	} else {
		s.oldest = st.newer
	}
	if st.newer != nil {
		st.newer.older = st.older
	} else {
		s.newest = st.older
	}
}
