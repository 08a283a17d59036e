package testunits

import (
	"context"
	"io"
	"net"
	"os/exec"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// happen makes what the sensor shall tell: a connection, a question to a resolver, a
// lookup, and the end of the connection.
func happen(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("hello"))
	conn.Close()
	<-done

	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go answer(server)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", "127.0.0.1:53")
	}}
	if _, err := resolver.LookupNetIP(t.Context(), "ip4", "served.example."); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("getent", "ahosts", "127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("getent: %v: %s", err, out)
	}
}

// answer is a resolver that knows one address.
func answer(server net.PacketConn) {
	question := make([]byte, 512)
	for {
		n, from, err := server.ReadFrom(question)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(question[:n]) != nil || len(message.Questions) != 1 {
			continue
		}
		message.Response, message.Additionals = true, nil
		message.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: message.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		if packed, err := message.Pack(); err == nil {
			_, _ = server.WriteTo(packed, from)
		}
	}
}

// crowd holds connections over loopback until the test ends.
func crowd(t *testing.T, connections int) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	for range connections {
		client, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
	}
}
