package socket

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// asChild makes the test binary a helper of a test, which listens on a port,
// says so, and waits until its input is closed; or, with toRead, says what
// it can read.
const (
	asChild  = "NETVIEW_TEST_CHILD"
	toListen = "listen"
	toRead   = "read"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(asChild) {
	case toListen:
		err = childListens()
	case toRead:
		err = childReads()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func childListens() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func childReads() error {
	table := &Table{}
	if err := (&Reader{Proc: "/proc"}).Read(table); err != nil {
		return err
	}
	for _, ns := range table.Seen {
		fmt.Println(ns.Inode, ns.Holder, ns.Missing)
	}
	for _, row := range table.Rows {
		fmt.Println(row.Local, row.State)
	}
	fmt.Println("no sock_diag:", table.NoDiag)
	return nil
}

// startChild starts a process with a listener, whose address it returns. It
// lives in the namespace of the calling thread until the test ends.
func startChild(t *testing.T) (address string, err error) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), asChild+"="+toListen)
	in, err := child.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := child.Start(); err != nil {
		return "", err
	}
	t.Cleanup(func() {
		in.Close()
		child.Wait()
	})
	line := make([]byte, 64)
	n, err := out.Read(line)
	return strings.TrimSpace(string(line[:n])), err
}
