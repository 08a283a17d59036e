package socket

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// enter calls f on a thread that was moved into the namespace of a descriptor.
func enter(fd int, f func() error) error {
	result := make(chan error)
	go onThread(func() error { return inside(fd, f) }, result)
	return <-result
}

// onThread runs f with a thread of its own. The first thread of the process is
// never used: it is what others see as /proc/PID, and the runtime parks it for
// ever instead of ending it.
func onThread(f func() error, result chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// This goroutine occupies it, so the next one gets another.
		inner := make(chan error)
		go onThread(f, inner)
		err := <-inner
		runtime.UnlockOSThread()
		result <- err
		return
	}
	err := f()
	if !errors.Is(err, errNotRestored) {
		runtime.UnlockOSThread()
	}
	// Still locked, the thread ends with this goroutine, and so cannot carry
	// the foreign namespace into other work.
	result <- err
}

var errNotRestored = errors.New("the thread could not return to its own network namespace")

func inside(fd int, f func() error) error {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the thread's own network namespace: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace (it takes CAP_SYS_ADMIN): %w", err)
	}
	err = f()
	if unix.Setns(own, unix.CLONE_NEWNET) != nil {
		return errors.Join(err, errNotRestored)
	}
	return err
}
