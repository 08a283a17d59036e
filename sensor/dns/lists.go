package dns

import "github.com/netview-project/netview/event"

// Lists is memory for what the lists of events hold, as many as are appended at
// once. It is used again.
type Lists struct {
	texts   []string
	numbers []uint32
}

// Keep gives a query lists of its own, valid until Empty.
func (l *Lists) Keep(q *event.DNSQuery) {
	q.Servers, q.Answers, q.AnswerTypes = l.Texts(q.Servers), l.Texts(q.Answers), l.Texts(q.AnswerTypes)
	q.AnswerTTLs = keep(&l.numbers, q.AnswerTTLs)
}

// Texts returns a copy of a list, valid until Empty.
func (l *Lists) Texts(list []string) []string { return keep(&l.texts, list) }

// Empty takes back all that was kept.
func (l *Lists) Empty() {
	clear(l.texts)
	l.texts, l.numbers = l.texts[:0], l.numbers[:0]
}

// keep copies a list behind those in places. Where these must grow, the earlier
// lists stay in the old.
func keep[T any](places *[]T, list []T) []T {
	if len(list) == 0 {
		return nil
	}
	from := len(*places)
	*places = append(*places, list...)
	return (*places)[from:len(*places):len(*places)]
}
