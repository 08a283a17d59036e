package deliver

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/uuid"
)

// TestDamage: what is told of segments that cannot be read to their end, for
// sessions a and b of which some entries are still there.
func TestDamage(t *testing.T) {
	a, b := uuid.New(), uuid.New()
	entry := func(session uuid.UUID, first, last, before uint64) *header {
		return &header{Session: session, First: first, Last: last, Before: before}
	}
	torn, corrupt := fmt.Errorf("%w", errTorn), errors.New("unexpected checksum")
	type unread struct {
		err     error
		entries int
	}
	for name, c := range map[string]struct {
		log  []any // headers and what cannot be read
		want []lost
	}{
		"nothing":                          {[]any{entry(a, 1, 10, 0), entry(a, 11, 20, 10), entry(b, 1, 5, 0)}, nil},
		"corrupt between entries":          {[]any{entry(a, 1, 10, 0), unread{corrupt, 1}, entry(a, 31, 40, 28)}, []lost{{a, 11, 30, CauseCorrupt, 18, nil}}},
		"corrupt, only snapshots between":  {[]any{entry(a, 1, 10, 0), unread{corrupt, 1}, entry(a, 31, 40, 10)}, nil},
		"corrupt at a session's end":       {[]any{entry(a, 1, 10, 0), unread{corrupt, 1}, entry(b, 21, 25, 20)}, []lost{{a, 11, 0, CauseCorrupt, 0, nil}}},
		"corrupt from its first entry":     {[]any{entry(a, 1, 10, 0), unread{corrupt, 0}, entry(b, 21, 25, 20)}, []lost{{a, 11, 0, CauseCorrupt, 0, nil}, {b, 1, 20, CauseCorrupt, 20, nil}}},
		"corrupt before all that is known": {[]any{unread{corrupt, 0}, entry(a, 21, 25, 20)}, []lost{{a, 1, 20, CauseCorrupt, 0, nil}}},
		"torn at a session's end":          {[]any{entry(a, 1, 10, 0), unread{torn, 1}, entry(b, 21, 25, 20)}, []lost{{a, 11, 0, CauseUncleanEnd, 0, nil}}},
		"torn, and the session went on":    {[]any{entry(a, 1, 10, 0), unread{torn, 1}, entry(a, 31, 40, 30)}, nil},
		"torn at the end":                  {[]any{entry(a, 1, 10, 0), unread{torn, 1}}, []lost{{a, 11, 0, CauseUncleanEnd, 0, nil}}},
	} {
		var d damage
		for _, l := range c.log {
			switch l := l.(type) {
			case *header:
				d.found(l)
			case unread:
				d.cannotRead(l.err, l.entries)
			}
		}
		d.end(uuid.Nil)
		if !reflect.DeepEqual(d.gone, c.want) {
			t.Errorf("%s: told of %+v, want %+v", name, d.gone, c.want)
		}
	}
}
