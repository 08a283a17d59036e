package event

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// cursor walks the fields of a protobuf message.
type cursor struct {
	rest    []byte
	number  protowire.Number
	kind    protowire.Type
	content []byte // of a field with a length
	bits    uint64 // of any other
	err     error
}

// next moves to the next field; it returns false at the end, or where the
// message is malformed, which err then says.
func (c *cursor) next() bool {
	if len(c.rest) == 0 || c.err != nil {
		return false
	}
	// A tag and a length of one byte each are what nearly every field has.
	if b := c.rest; len(b) >= 2 && b[0] >= 1<<3 && b[0] < 0x80 && protowire.Type(b[0]&7) == protowire.BytesType && b[1] < 0x80 && len(b)-2 >= int(b[1]) {
		end := 2 + int(b[1])
		c.number, c.kind, c.content, c.bits, c.rest = protowire.Number(b[0]>>3), protowire.BytesType, b[2:end], 0, b[end:]
		return true
	}
	var n, m int
	if c.number, c.kind, n = protowire.ConsumeTag(c.rest); n < 0 {
		c.err = protowire.ParseError(n)
		return false
	}
	c.content, c.bits = nil, 0
	switch c.kind {
	case protowire.BytesType:
		c.content, m = protowire.ConsumeBytes(c.rest[n:])
	case protowire.VarintType:
		c.bits, m = protowire.ConsumeVarint(c.rest[n:])
	case protowire.Fixed64Type:
		c.bits, m = protowire.ConsumeFixed64(c.rest[n:])
	default:
		m = protowire.ConsumeFieldValue(c.number, c.kind, c.rest[n:])
	}
	if m < 0 {
		c.err = protowire.ParseError(m)
		return false
	}
	c.rest = c.rest[n+m:]
	return true
}

// is reports whether the field is the given one. A known field of another wire
// type makes the message malformed.
func (c *cursor) is(number protowire.Number, kind protowire.Type) bool {
	if c.number != number {
		return false
	}
	if c.kind != kind {
		c.err = fmt.Errorf("field %d has wire type %d, must have %d", number, c.kind, kind)
		return false
	}
	return true
}
