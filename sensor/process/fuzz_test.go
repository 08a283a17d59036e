package process

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzStat: a stat that is accepted has a name from its text, and a time.
func FuzzStat(f *testing.F) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 12345 0"
	f.Add([]byte("100 (nginx)" + rest))
	f.Add([]byte("100 (a) b) ((" + rest + "\n"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, stat []byte) {
		s, err := parseStart(stat)
		if err != nil {
			return
		}
		if s.time < 0 || !utf8.ValidString(s.name) || utf8.Valid(stat) && !strings.Contains(string(stat), s.name) {
			t.Errorf("start %v of %q", s.time, s.name)
		}
	})
}

// FuzzStatus: a uid that is found stands in the text.
func FuzzStatus(f *testing.F) {
	f.Add([]byte("Name:\tnginx\nUid:\t0\t33\t0\t0\n"))
	f.Add([]byte("\nUid:\t\n"))
	f.Add([]byte("\nUid:\t0 4294967296"))
	f.Fuzz(func(t *testing.T, status []byte) {
		if uid, ok := effectiveUID(status); ok && uid != 0 && !strings.ContainsAny(string(status), "123456789") {
			t.Errorf("uid %d", uid)
		}
	})
}

// FuzzUsers: no more names than lines, and none is empty or has a colon.
func FuzzUsers(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\n# a comment\n:x:1:\nwww:x:33:33::/:\nagain:x:33:1:::"))
	f.Add([]byte("a:::"))
	f.Fuzz(func(t *testing.T, text []byte) {
		names := parseUsers(text)
		if len(names) > strings.Count(string(text), "\n")+1 {
			t.Errorf("%d names", len(names))
		}
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, ":\n") {
				t.Errorf("name %q", name)
			}
		}
	})
}

// FuzzCut: what is cut is no longer than it may be, and of whole characters.
func FuzzCut(f *testing.F) {
	f.Add("/usr/bin/nginx (deleted)", 5)
	f.Add("ééé", 3)
	f.Fuzz(func(t *testing.T, text string, length int) {
		if length < 0 {
			return
		}
		got := cut(valid(text), length)
		if len(got) > length || !utf8.ValidString(got) {
			t.Errorf("%q of %d bytes", got, length)
		}
		var i Identity
		i.setBinary(text)
		if !utf8.ValidString(i.Binary) {
			t.Errorf("binary %q", i.Binary)
		}
	})
}
