package event

import "github.com/google/uuid"

// Gap says which records of a session will never come: their numbers were
// given, and they were lost under a cause that is named. It is a record of the
// session that noticed, which may be a later one of the same sensor.
type Gap struct {
	Envelope
	// OfSession is the session of which the numbers from First to Last, both
	// included, are gone, as far as they are not stored. Last is 0 where it is
	// not known: up to the end of that session.
	OfSession   uuid.UUID
	First, Last uint64
	// Cause is a cause of loss in the words of the heartbeat's losses.
	Cause string
	// Records that are lost. It is less than the range has numbers where only
	// some of them are lost, and which is not known.
	Records uint64
	// Kinds counts Records by kind, where that is known.
	Kinds map[string]uint64
}

// Kind is [KindGap].
func (*Gap) Kind() Kind { return KindGap }

var gapFields = []Field{
	{Column: "gap_session", Attribute: AttrGapSession, Scope: ScopeRecord, Source: "the spool",
		at: of(func(g *Gap) any { return &g.OfSession })},
	{Column: "gap_first", Attribute: AttrGapFirst, Scope: ScopeRecord, Source: "the spool",
		at: of(func(g *Gap) any { return &g.First })},
	{Column: "gap_last", Attribute: AttrGapLast, Scope: ScopeRecord, Source: "the spool",
		at: of(func(g *Gap) any { return &g.Last })},
	{Column: "cause", Attribute: AttrGapCause, Scope: ScopeRecord, Source: "the spool",
		at: of(func(g *Gap) any { return &g.Cause })},
	{Column: "records", Attribute: AttrGapRecords, Scope: ScopeRecord, Source: "the spool",
		at: of(func(g *Gap) any { return &g.Records })},
	{Column: "kinds", Attribute: AttrGapKinds, Scope: ScopeRecord, Source: "the spool",
		at: of(func(g *Gap) any { return &g.Kinds })},
}
