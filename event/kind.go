package event

import "slices"

// kindSpec is what the codec knows of a kind.
type kindSpec struct {
	make   func() Event
	clear  func(Event) // to what make returns
	fields []Field
	// index of the fields by scope and attribute.
	index map[Scope]map[string]int
	// required is the set of the fields, by position, that a record must carry:
	// those that are never null. A field added after the first release must
	// allow null, or older sensors would be refused.
	required uint64
}

func newSpec[T any, P interface {
	*T
	Event
}](own ...[]Field) *kindSpec {
	s := &kindSpec{make: func() Event { return P(new(T)) }, clear: func(e Event) { *e.(P) = *new(T) }, fields: slices.Concat(append([][]Field{commonFields}, own...)...),
		index: map[Scope]map[string]int{ScopeResource: {}, ScopeRecord: {}, ScopeNative: {}}}
	if len(s.fields) > 64 {
		panic("event: a kind can have at most 64 fields")
	}
	for i, f := range s.fields {
		if f.Null == "" && f.Scope != ScopeNative {
			s.required |= 1 << i
		}
		s.index[f.Scope][f.Attribute] = i
	}
	return s
}

// kinds lists every kind of this version. A later kind is added here and
// described beside its struct.
var kinds = map[Kind]*kindSpec{
	KindConnection:     newSpec[Connection](connectionFields),
	KindListener:       newSpec[Listener](listenerFields),
	KindFlow:           newSpec[Flow](flowFields),
	KindHeartbeat:      newSpec[Heartbeat](heartbeatFields),
	KindNetworkConnect: newSpec[NetworkConnect](networkConnectFields),
	KindNetworkAccept:  newSpec[NetworkAccept](networkAcceptFields),
	KindNetworkFlow:    newSpec[NetworkFlow](networkFlowFields),
	KindNetworkListen:  newSpec[NetworkListen](networkListenFields),
	KindLSMNetConnect:  newSpec[LSMNetConnect](lsmNetConnectFields),
	KindDNSQuery:       newSpec[DNSQuery](dnsQueryFields),
	KindDNSLookup:      newSpec[DNSLookup](dnsLookupFields),
	KindDNSResolution:  newSpec[DNSResolution](dnsResolutionFields),
	KindGap:            newSpec[Gap](gapFields),
}

// kindsByName is kinds by event name.
var kindsByName = func() map[string]*kindSpec {
	byName := make(map[string]*kindSpec, len(kinds))
	for kind, spec := range kinds {
		byName[kind.EventName()] = spec
	}
	return byName
}()

// Kinds returns the kinds of this version, sorted.
func Kinds() []Kind {
	list := make([]Kind, 0, len(kinds))
	for k := range kinds {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// New returns an empty record of the kind, or nil for a kind this version does not know.
func New(k Kind) Event {
	if s := kinds[k]; s != nil {
		return s.make()
	}
	return nil
}

// Fields returns the fields of a kind in the order of its columns; nil for a
// kind this version does not know. The caller must not change them.
func Fields(k Kind) []Field {
	if s := kinds[k]; s != nil {
		return s.fields
	}
	return nil
}
