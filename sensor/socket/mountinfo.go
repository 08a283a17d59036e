package socket

import (
	"bytes"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// heldByMounts calls found for each network namespace that is bind-mounted, in
// the text of /proc/PID/mountinfo (kernel: fs/proc_namespace.c show_mountinfo).
// The path is relative to the root of that process and valid during the call.
func heldByMounts(text []byte, found func(inode uint64, path []byte)) {
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		// ID PARENT MAJOR:MINOR ROOT MOUNTPOINT …: the root of such a mount is net:[INODE].
		at := bytes.Index(line, []byte(" net:["))
		if at < 0 {
			continue
		}
		root, rest, _ := bytes.Cut(line[at+1:], []byte(" "))
		path, _, _ := bytes.Cut(rest, []byte(" "))
		inode, ok := procdir.Inode(root, "net")
		if ok && len(path) > 0 && path[0] == '/' && bytes.Count(line[:at], []byte(" ")) == 2 {
			found(inode, unescape(path))
		}
	}
}

// unescape undoes the octal escapes of mountinfo, in place.
func unescape(path []byte) []byte {
	end := 0
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '\\' && i+3 < len(path) && isOctal(path[i+1:i+4]) {
			c = (path[i+1]-'0')<<6 | (path[i+2]-'0')<<3 | (path[i+3] - '0')
			i += 3
		}
		path[end] = c
		end++
	}
	return path[:end]
}

func isOctal(digits []byte) bool {
	for _, c := range digits {
		if c < '0' || c > '7' {
			return false
		}
	}
	return true
}
