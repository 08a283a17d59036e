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

// mostOfOne is how many connections a listener keeps of one sensor, which needs one
// and makes a new one now and then. Whoever has taken a host over would otherwise
// open them until nobody else gets in.
const mostOfOne = 50

// door is a listener that bounds the connections of strangers, and of each sensor
// that a certificate names.
type door struct {
	net.Listener
	most, mostOfOne int

	mutex     sync.Mutex
	strangers queue
	byAddress map[string]*guest // strangers
	sensors   map[string]*queue
}

// queue has guests, the oldest first.
type queue struct{ list.List }

func newDoor(listener net.Listener) *door {
	return &door{Listener: listener, most: mostStrangers, mostOfOne: mostOfOne, byAddress: map[string]*guest{}, sensors: map[string]*queue{}}
}

// guest is a connection that came through a door.
type guest struct {
	net.Conn
	door    *door
	address string

	// sensor that it is; empty for a stranger.
	sensor string
	// in a queue at a place; nil where nothing bounds it.
	in    *queue
	place *list.Element
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
	d.mutex.Lock()
	oldest := d.enter(g, &d.strangers, d.most)
	d.byAddress[g.address] = g
	d.mutex.Unlock()
	oldest.end()
	return g, nil
}

// enter puts a guest into a queue, and takes the oldest out where it is full.
func (d *door) enter(g *guest, q *queue, most int) (oldest *guest) {
	if q.Len() >= most {
		oldest = q.Front().Value.(*guest)
		d.forget(oldest)
	}
	g.in, g.place = q, q.PushBack(g)
	return oldest
}

// forget takes a guest out of its queue.
func (d *door) forget(g *guest) {
	if g.in == nil {
		return
	}
	g.in.Remove(g.place)
	switch {
	case g.sensor == "" && d.byAddress[g.address] == g:
		delete(d.byAddress, g.address)
	case g.sensor != "" && g.in.Len() == 0:
		delete(d.sensors, g.sensor)
	}
	g.in, g.place = nil, nil
}

// letIn says that a request of the connection from an address was let in, and of
// which sensor; empty where that is not known, as of a relay.
func (d *door) letIn(address, sensor string) {
	d.mutex.Lock()
	g := d.byAddress[address]
	if g == nil {
		d.mutex.Unlock()
		return
	}
	d.forget(g)
	var oldest *guest
	if g.sensor = sensor; sensor != "" {
		if d.sensors[sensor] == nil {
			d.sensors[sensor] = &queue{}
		}
		oldest = d.enter(g, d.sensors[sensor], d.mostOfOne)
	}
	d.mutex.Unlock()
	oldest.end()
}

// end closes a connection that had to make room, if there is one. Whoever serves it
// sees the end of it.
func (g *guest) end() {
	if g != nil {
		_ = g.Conn.Close()
	}
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.door.mutex.Lock()
	g.door.forget(g)
	g.door.mutex.Unlock()
	return g.Conn.Close()
}
