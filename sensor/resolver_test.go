package sensor

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testca"
	"github.com/netview-project/netview/internal/testns"
)

// stage is a network namespace with addresses of its own, a service on port 9000 of
// each, and the files that programs on it find in /etc.
type stage struct {
	*testns.NS
	t   *testing.T
	dir string // of the files
}

// etc are the files.
var etc = map[string]string{
	"resolv.conf":   "nameserver 127.0.0.1\n",
	"hosts":         "127.0.0.1 localhost\n10.77.0.20 filed.test\n",
	"nsswitch.conf": "hosts: files dns\nservices: files\n",
	"host.conf":     "multi on\n",
}

// servicePort is where all addresses of a stage are listened on; latePort is that of
// 10.77.0.3 alone.
const (
	servicePort = 9000
	latePort    = 9001
)

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{testns.New(t), t, t.TempDir()}
	for name, text := range etc {
		s.write(name, text)
	}
	s.Do(t, func() error {
		for _, words := range []string{
			"-4 route add local 10.77.0.0/16 dev lo", "-4 route add local 198.51.100.0/24 dev lo", "-6 addr add fd00:77::6/128 dev lo nodad",
			"link set lo multicast on", "-4 route add 224.0.0.0/4 dev lo",
		} {
			if out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", words, err, out)
			}
		}
		for _, address := range []string{fmt.Sprint("[::]:", servicePort), fmt.Sprint("10.77.0.3:", latePort)} {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { listener.Close() })
			go serve(listener)
		}
		return nil
	})
	return s
}

// serve waits for the end of each connection, until the listener is closed.
func serve(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}()
	}
}

// write one of the files. Programs that run see the change.
func (s *stage) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// command that runs on the stage, with its files in /etc.
func (s *stage) command(arguments ...string) *exec.Cmd {
	script := `exec "$@"`
	for name := range etc {
		if _, err := os.Stat("/etc/" + name); err == nil { // else there is nothing to mount it on
			script = fmt.Sprintf("mount --bind %s/%s /etc/%[2]s && %s", s.dir, name, script)
		}
	}
	command := exec.Command("sh", append([]string{"-c", script, "sh"}, arguments...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	return command
}

// run a program on the stage to its end.
func (s *stage) run(arguments ...string) {
	s.t.Helper()
	s.Do(s.t, func() error {
		out, err := s.command(arguments...).CombinedOutput()
		if err != nil { // which may be what the test is about
			s.t.Logf("%q: %v: %s", arguments, err, out)
		}
		return nil
	})
}

// serving starts a server on the stage, and waits until it answers to its address.
func (s *stage) serving(address string, arguments ...string) {
	s.t.Helper()
	command := s.command(arguments...)
	s.Do(s.t, func() error {
		testbin.StartCommand(s.t, command)
		return nil
	})
	testbin.Eventually(s.t, 20*time.Second, func() (missing string) {
		s.Do(s.t, func() error {
			c, err := net.Dial("tcp", address)
			if err != nil {
				missing = fmt.Sprintf("%s does not listen: %v", arguments[0], err)
				return nil
			}
			return c.Close()
		})
		return missing
	})
}

// actor is a program on a stage that waits for its input between what it does.
type actor struct {
	t       *testing.T
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
}

// start a program, and have it do the first.
func (s *stage) start(arguments ...string) *actor {
	s.t.Helper()
	a := &actor{t: s.t, command: s.command(arguments...)}
	a.command.Stderr = s.t.Output()
	var err error
	if a.input, err = a.command.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	output, err := a.command.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	a.output = bufio.NewReader(output)
	s.Do(s.t, a.command.Start)
	s.t.Cleanup(a.end)
	return a
}

// done waits until it has done what it does.
func (a *actor) done() {
	a.t.Helper()
	if line, err := a.output.ReadString('\n'); line != "done\n" {
		a.t.Errorf("%v says %q: %v", a.command.Args, line, err)
	}
}

// do what a line says, of client.py.
func (a *actor) do(line string) *actor {
	a.t.Helper()
	if _, err := io.WriteString(a.input, line+"\n"); err != nil {
		a.t.Error(err)
	}
	a.done()
	return a
}

func (a *actor) end() {
	if a.command.ProcessState == nil {
		a.input.Close()
		_ = a.command.Wait() // what it could not do, it has said
	}
}

// zone is what unbound knows of test., by itself.
const zone = `$ORIGIN test.
@ 60 SOA ns root 1 3600 600 86400 30
@ 60 NS ns
ns 60 A 127.0.0.2
one 60 A 10.77.0.1
two 60 A 10.77.0.2
two 60 A 10.77.0.3
six 60 AAAA fd00:77::6
chain 300 CNAME middle
middle 20 CNAME end
end 60 A 10.77.0.5
short 1 A 10.77.0.9
own 1 A 10.77.0.10
shared 60 A 10.77.0.11
public 60 A 198.51.100.12
before 60 A 10.77.0.13
mine 60 A 10.77.0.13
after 60 A 10.77.0.13
parent 60 A 10.77.0.14
child 60 A 10.77.0.15
reused 1 A 10.77.0.16
deep.more 60 A 10.77.0.19
none 60 TXT "no address"
` + longName + `. 60 A 10.77.0.22
big 60 CNAME ` + longLabels + `.1
` + longLabels + ".1 60 CNAME " + longLabels + `.2
` + longLabels + ".2 60 CNAME " + longLabels + `.3
` + longLabels + `.3 60 A 10.77.0.24
`

// A name of 255 octets, the most that there is.
const (
	longLabel  = "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-123456789"
	lastLabel  = "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-12"
	longLabels = longLabel + "." + longLabel + "." + longLabel
	longName   = longLabels + "." + lastLabel + ".test"
)

// startUnbound with a zone, at 127.0.0.2, and at another port where translated
// addresses lead to. What is in caps. it asks 127.0.0.1 for, in letters of random case.
func (s *stage) startUnbound() {
	s.t.Helper()
	unbound := tool(s.t, "unbound")
	many := ""
	for i := range 40 {
		many += fmt.Sprintf("many A 10.77.1.%d\n", i+1)
	}
	s.write("zone", zone+many)
	s.write("nothing", "") // so that the zone is broken
	s.write("unbound.conf", `server:
	interface: 127.0.0.2
	interface: 127.0.0.6
	interface: 127.0.0.1@5399
	do-daemonize: no
	num-threads: 1
	username: ""
	chroot: ""
	pidfile: ""
	use-syslog: no
	module-config: "iterator"
	do-not-query-localhost: no
	use-caps-for-id: yes
	qname-minimisation: no
	rrset-roundrobin: no
	local-zone: "mute.test." always_deny
	local-zone: "refused.test." always_refuse
	local-zone: "test." nodefault
auth-zone:
	name: "test."
	zonefile: "`+s.dir+`/zone"
	for-upstream: no
	for-downstream: yes
	fallback-enabled: no
auth-zone:
	name: "broken."
	zonefile: "`+s.dir+`/nothing"
	for-upstream: no
	for-downstream: yes
	fallback-enabled: no
forward-zone:
	name: "caps."
	forward-addr: 127.0.0.1
remote-control:
	control-enable: no
`)
	s.serving("127.0.0.2:53", unbound, "-d", "-c", filepath.Join(s.dir, "unbound.conf"))
}

// translate addresses, as Docker does for its resolver, and drop every other packet
// that goes to 127.0.0.6.
func (s *stage) translate() {
	s.t.Helper()
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(`table ip stage {
	chain output {
		type nat hook output priority -100
		ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.1:5399
	}
	chain input {
		type filter hook input priority 0
		ip daddr 127.0.0.6 udp dport 53 numgen inc mod 2 0 drop
	}
}
`)
	s.Do(s.t, func() error {
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
}

// startDnsmasq, which asks unbound for all that it is asked, each time; but for
// caps., which is its own.
func (s *stage) startDnsmasq() {
	s.t.Helper()
	s.serving("127.0.0.1:53", tool(s.t, "dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--log-facility=-",
		"--no-resolv", "--no-hosts", "--cache-size=0", "--bind-interfaces", "--listen-address=127.0.0.1", "--listen-address=::1",
		"--address=/hidden.caps/10.77.0.23", "--server=127.0.0.2")
}

// serveTLS answers over TLS on the stage.
func (s *stage) serveTLS(address string) {
	s.t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		s.t.Fatal(err)
	}
	certificate := testca.New(s.t, s.t.TempDir(), "authority").Issue("server", host)
	s.Do(s.t, func() error {
		listener, err := tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{certificate}})
		if err != nil {
			return err
		}
		s.answering(&dns.Server{Listener: listener}, "one.test. 60 A 10.77.0.1")
		return nil
	})
}

// respond to questions of mDNS on the stage.
func (s *stage) respond() {
	s.t.Helper()
	s.Do(s.t, func() error {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		group, err := net.ListenMulticastUDP("udp4", lo, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
		if err != nil {
			return err
		}
		// Only with addresses of its own could the server say where an answer comes from.
		s.answering(&dns.Server{PacketConn: struct{ net.PacketConn }{group}}, "printer.local. 120 A 10.77.0.25")
		return nil
	})
}

// answering serves with one record until the test ends.
func (s *stage) answering(server *dns.Server, record string) {
	answer, err := dns.NewRR(record)
	if err != nil {
		s.t.Fatal(err)
	}
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		reply := new(dns.Msg).SetReply(question)
		reply.Answer = append(reply.Answer, answer)
		_ = w.WriteMsg(reply) // a client that has gone does not matter
	})
	started, served := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { served <- server.ActivateAndServe() }()
	<-started
	s.t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			s.t.Error(err)
		}
		<-served
	})
}

// tool is a program that `make test` has from Debian.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%v: internal/testkernel/fetch.sh brings it", err)
	}
	return path
}
