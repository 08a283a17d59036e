package deliver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// state is what a spool remembers beside its records. Without it everything
// that is there is sent again, which is harmless.
type state struct {
	// Session that wrote it, and whether that session ended in good order.
	Session uuid.UUID `json:"session"`
	Clean   bool      `json:"clean"`
	// Settled is the highest number of the session such that it and all before
	// it were acknowledged, or told of in a gap record.
	Settled uint64 `json:"settled"`
	// Segment of the events before which everything is settled, Entries of it
	// that are, and the end of the last of all these.
	Segment int  `json:"segment"`
	Entries int  `json:"entries"`
	Mark    mark `json:"mark"`
	// Damaged segments whose cost was told.
	Damaged []int `json:"damaged,omitempty"`
	// Ends are losses of earlier sessions that were told in memory only, for want
	// of a disk that takes records.
	Ends []lost `json:"ends,omitempty"`
}

const stateFile = "state.json"

// readState returns the zero state where there is none.
func readState(dir string) (state, error) {
	var s state
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return state{}, fmt.Errorf("reading the state of the spool: %w", err)
	}
	return s, nil
}

// writeState replaces the file as a whole. Where the disk is full it overwrites
// what is there, which takes no room: a later start must know of this session.
func writeState(dir string, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the state of the spool: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	err = renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(dir))
	if isFull(err) {
		err = overwrite(path, text)
	}
	if err != nil {
		return fmt.Errorf("writing the state of the spool: %w", err)
	}
	return nil
}

func overwrite(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > int64(len(text)) {
		text = append(text, bytes.Repeat([]byte(" "), int(info.Size())-len(text))...)
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync())
}

// lockDir keeps a second sensor out of a spool, for as long as the file is open.
func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &LockedError{dir}
		}
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return file, nil
}

// LockedError says that another process uses a spool.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the spool %s is in use by another sensor: stop it, or give this one a directory of its own", e.Dir)
}
