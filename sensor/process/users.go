package process

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/netview-project/netview/sensor/process/procdir"
)

// users knows the host's names of uids, from its passwd file alone: the names
// that NSS might add are out of reach without its libraries.
type users struct {
	file    string
	changed time.Time
	size    int64
	names   map[uint32]string
}

// refresh reads the first of the files that is there, if it changed.
func (u *users) refresh(files ...string) error {
	var first error
	for _, file := range files {
		err := u.read(file)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (u *users) read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &os.PathError{Op: "read", Path: path, Err: os.ErrInvalid}
	}
	if path == u.file && info.ModTime().Equal(u.changed) && info.Size() == u.size {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, procdir.LargestFile))
	if err != nil {
		return err
	}
	u.file, u.changed, u.size, u.names = path, info.ModTime(), info.Size(), parseUsers(text)
	return nil
}

// parseUsers reads passwd(5). The first name of a uid holds, as for getpwuid;
// lines that do not fit the format are left out.
func parseUsers(text []byte) map[uint32]string {
	names := map[uint32]string{}
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		fields := bytes.SplitN(line, []byte(":"), 4)
		if len(fields) < 4 || len(fields[0]) == 0 || fields[0][0] == '#' {
			continue
		}
		uid, err := strconv.ParseUint(string(fields[2]), 10, 32)
		if err != nil {
			continue
		}
		if _, taken := names[uint32(uid)]; !taken {
			names[uint32(uid)] = string(fields[0])
		}
	}
	return names
}

func (u *users) name(uid uint32) string {
	if name, known := u.names[uid]; known {
		return name
	}
	return strconv.FormatUint(uint64(uid), 10)
}
