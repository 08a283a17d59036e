package otelreceiver

import (
	"container/list"
	"net"
	"sync"
)

// mostStrangers is how many connections a listener keeps of which no request was
// let in yet. Whoever comes then takes the place of the oldest of them: an honest
// sensor sends its first request within moments, and is no stranger any more.
const mostStrangers = 1000

// door is a listener that bounds the connections of strangers.
type door struct {
	net.Listener
	most int

	mutex     sync.Mutex
	strangers list.List // of *guest, the oldest first
	byAddress map[string]*list.Element
}

func newDoor(listener net.Listener) *door {
	return &door{Listener: listener, most: mostStrangers, byAddress: map[string]*list.Element{}}
}

// guest is a connection that came through a door.
type guest struct {
	net.Conn
	door    *door
	address string
}

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, ok := conn.RemoteAddr().(*net.TCPAddr); !ok {
		return conn, nil // the ends of Unix sockets have no addresses to tell them apart
	}
	g := &guest{Conn: conn, door: d, address: conn.RemoteAddr().String()}
	var oldest *guest
	d.mutex.Lock()
	if d.strangers.Len() >= d.most {
		oldest = d.forget(d.strangers.Front())
	}
	d.byAddress[g.address] = d.strangers.PushBack(g)
	d.mutex.Unlock()
	if oldest != nil {
		_ = oldest.Conn.Close() // whoever serves it sees the end of it
	}
	return g, nil
}

// forget takes a stranger off the list.
func (d *door) forget(e *list.Element) *guest {
	g := d.strangers.Remove(e).(*guest)
	if d.byAddress[g.address] == e {
		delete(d.byAddress, g.address)
	}
	return g
}

// letIn says that a request of the connection from an address was let in.
func (d *door) letIn(address string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if e := d.byAddress[address]; e != nil {
		d.forget(e)
	}
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.door.mutex.Lock()
	if e := g.door.byAddress[g.address]; e != nil && e.Value == g {
		g.door.forget(e)
	}
	g.door.mutex.Unlock()
	return g.Conn.Close()
}
