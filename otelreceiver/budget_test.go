package otelreceiver

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestOneSensorHasAPart of the room: when it is used up, the others have theirs.
func TestOneSensorHasAPart(t *testing.T) {
	b := newBudget(100, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	first, second, relay := b.shareOf("mallory"), b.shareOf("mallory"), b.shareOf("")
	if err := first.grow(ctx, 20); err != nil {
		t.Fatal(err)
	}
	if err := second.grow(ctx, 10); status.Code(err) != codes.ResourceExhausted || len(status.Convert(err).Details()) == 0 {
		t.Errorf("beyond its part a sensor gets %v", err)
	}
	if err := relay.grow(ctx, 80); err != nil {
		t.Errorf("the others get %v", err)
	}
	honest := b.shareOf("honest")
	if err := honest.grow(ctx, 1); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("beyond the whole a sensor gets %v", err)
	}
	first.shrink(5)
	if err := second.grow(ctx, 15); err != nil {
		t.Errorf("what is given back is given to nobody: %v", err)
	}
	for _, s := range []*share{first, second, relay, honest} {
		s.end()
	}
	if len(b.parts) != 0 || !b.all.bytes.TryAcquire(b.limit) {
		t.Errorf("%d parts are left, or some of the room is", len(b.parts))
	}
	if large := newBudget(100, 60); large.part != 60 {
		t.Errorf("the part is %d, and the largest request 60", large.part)
	}
}
