package probe

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/bpf"
)

// selfTestPatience is how long the self-test waits for what it made to be told.
const selfTestPatience = 2 * time.Second

// errSilent is why a feature is off whose programs were attached in vain.
var errSilent = errors.New("its programs are attached, but tell nothing of a connection that the sensor made to itself")

// nowhere cannot be connected to: the kernel refuses TCP to the broadcast
// address by itself, and sends nothing.
var nowhere = unix.SockaddrInet4{Port: 9, Addr: [4]byte{255, 255, 255, 255}}

// selfTest makes a connection over loopback and an attempt that the kernel
// refuses, and turns off what does not tell of them: a program may be attached
// and never run. What others do meanwhile is kept for [Probe.Run]; what the test
// does is never told.
func (p *Probe) selfTest() {
	port, err := connectToSelf()
	if err != nil {
		p.turnOff(FeatureFlow, fmt.Errorf("the sensor cannot connect to itself: %w", err))
		return
	}
	attemptNowhere()
	awaited := map[string]int{FeatureFlow: 3, FeatureAccept: 1, FeatureConnect: 1} // of a flow: its beginning, and the end at both sides
	for _, f := range p.features {
		if f.Err != nil {
			delete(awaited, f.Name)
		}
	}
	for deadline := time.Now().Add(selfTestPatience); len(awaited) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		err := p.readAll(func(e *Event) {
			feature := testOf(e, port)
			if feature == "" {
				p.early = append(p.early, *e)
			} else if awaited[feature]--; awaited[feature] <= 0 {
				delete(awaited, feature)
			}
		})
		if err != nil {
			p.turnOff(FeatureFlow, err)
			return
		}
	}
	for feature := range awaited {
		p.turnOff(feature, errSilent)
	}
}

// testOf is the feature that an event of the self-test shows to work; empty for
// the event of another.
func testOf(e *Event, port uint16) string {
	switch {
	case e.Type == bpf.StateNvTypeNV_CONNECT && e.Tgid == uint32(os.Getpid()) && e.RemotePort == uint16(nowhere.Port) && e.Family == FamilyIPv4 && [4]byte(e.Remote[:4]) == nowhere.Addr:
		return FeatureConnect
	case e.LocalPort != port && e.RemotePort != port:
		return ""
	case e.Type == bpf.StateNvTypeNV_ACCEPT:
		return FeatureAccept
	case e.Type == bpf.StateNvTypeNV_LISTEN:
		return featureNone
	}
	return FeatureFlow
}

// featureNone stands for an event of the test that shows nothing.
const featureNone = "none"

// connectToSelf returns the port of a listener that is gone again, as is the
// connection to it.
func connectToSelf() (port uint16, err error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	client, err := net.DialTimeout("tcp4", listener.Addr().String(), selfTestPatience)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		return 0, err
	}
	return uint16(listener.Addr().(*net.TCPAddr).Port), server.Close()
}

func attemptNowhere() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return // the test then finds the feature silent
	}
	_ = unix.Connect(fd, &nowhere) // it fails, which is what is looked for
	unix.Close(fd)
}

// readAll handles what the ring buffer holds now.
func (p *Probe) readAll(handle func(*Event)) error {
	if err := p.reader.Flush(); err != nil {
		return fmt.Errorf("reading the ring buffer: %w", err)
	}
	var record ringbuf.Record
	for {
		err := p.reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the ring buffer: %w", err)
		}
		p.handle(&record, handle)
	}
}
