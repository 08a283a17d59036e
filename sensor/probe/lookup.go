package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netview-project/netview/sensor/bpf"
)

// Lookup is a call of getaddrinfo(3) that has ended; sensor/bpf/wire.h explains it.
type Lookup bpf.LookupNvLookup

// Name that was asked for, at most 263 bytes of it; false for the null pointer, and
// where it could not be read. What is longer than 255 bytes is no name of DNS.
func (l *Lookup) Name() ([]byte, bool) {
	return text(l.Node[:], l.NodeLength), l.NodeState == bpf.LookupNvTextNV_TEXT_READ
}

// ServiceName is the service or port that was asked for, at most 63 bytes of it;
// false as in [Lookup.Name].
func (l *Lookup) ServiceName() ([]byte, bool) {
	return text(l.Service[:], l.ServiceLength), l.ServiceState == bpf.LookupNvTextNV_TEXT_READ
}

func text(from []int8, length uint16) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(from))), len(from))[:min(int(length), len(from))]
}

// Process is the name of the process that asked.
func (l *Lookup) Process() []byte {
	name, _, _ := bytes.Cut(text(l.Comm[:], uint16(len(l.Comm))), []byte{0})
	return name
}

// Latency is how long the call took.
func (l *Lookup) Latency() time.Duration { return time.Duration(l.Time - l.Start) }

// AppendAddresses appends the addresses that were returned, each once and in their
// order, at most 16: [Lookup].More says that there are more, and Unread that some
// could not be read. An IPv4 address that is mapped to IPv6 is one of IPv4.
func (l *Lookup) AppendAddresses(list []netip.Addr) []netip.Addr {
	first := len(list)
	for i := range min(int(l.Count), len(l.Addresses)) {
		a := &l.Addresses[i]
		address := netip.AddrFrom16(a.Address).Unmap()
		if a.Family == FamilyIPv4 {
			address = netip.AddrFrom4([4]byte(a.Address[:4]))
		}
		if !slices.Contains(list[first:], address) {
			list = append(list, address)
		}
	}
	return list
}

// outcomes by what getaddrinfo returns, with a minus: netdb.h of glibc. musl has
// no others.
var outcomes = map[int32]string{0: "ok", 1: "EAI_BADFLAGS", 2: "EAI_NONAME", 3: "EAI_AGAIN", 4: "EAI_FAIL", 5: "EAI_NODATA", 6: "EAI_FAMILY",
	7: "EAI_SOCKTYPE", 8: "EAI_SERVICE", 9: "EAI_ADDRFAMILY", 10: "EAI_MEMORY", 11: "EAI_SYSTEM", 12: "EAI_OVERFLOW", 105: "EAI_IDN_ENCODE"}

// Outcome is ok, the name of what getaddrinfo returned, or that number where it has
// no name. Which errno belongs to EAI_SYSTEM is not known: each libc keeps it in a
// place of its own.
func (l *Lookup) Outcome() string {
	if name := outcomes[-l.Result]; name != "" {
		return name
	}
	return strconv.Itoa(int(l.Result))
}

// decodeLookup looks at a record in place, as decode does.
func decodeLookup(sample []byte) (*Lookup, bool) {
	if len(sample) != int(unsafe.Sizeof(Lookup{})) {
		return nil, false
	}
	return (*Lookup)(unsafe.Pointer(unsafe.SliceData(sample))), true
}

// decodeExec returns the process that a record tells of.
func decodeExec(sample []byte) (pid uint32, ok bool) {
	if len(sample) != int(unsafe.Sizeof(bpf.ExecNvExec{})) {
		return 0, false
	}
	return (*bpf.ExecNvExec)(unsafe.Pointer(unsafe.SliceData(sample))).Tgid, true
}

// The programs of [FeatureLookup], and its hook on kernels from 6.6 on.
const (
	hookMulti = "uprobe.multi/getaddrinfo"

	getaddrinfoBegan    = "getaddrinfo_began"
	getaddrinfoReturns  = "getaddrinfo_returns"
	getaddrinfoReturned = "getaddrinfo_returned"
)

// lookupFunction is what the programs are attached to.
const lookupFunction = "getaddrinfo"

// ErrNoLookups says that [FeatureLookup] is off.
var ErrNoLookups = errors.New("the kernel has no programs for it")

// AttachLookups attaches the programs of [FeatureLookup] to getaddrinfo in a file,
// for all processes that have it or will have it, until what it returns is closed.
// [Lookup].Library tells of it by a number above 0.
//
// The end of a call is seen at the instructions that return from it. Where these
// cannot be found, the kernel is to put an address of its own in the place of the
// return address: docs/lookups.md says what that may do to a program.
func (p *Probe) AttachLookups(path string, number uint64) (io.Closer, error) {
	if p == nil || p.lookups == nil {
		return nil, ErrNoLookups
	}
	file, err := link.OpenExecutable(path)
	if err != nil {
		return nil, err
	}
	// The beginning first: an end without its beginning would tell nothing.
	began, err := p.attachUprobe(file.Uprobe, file.UprobeMulti, getaddrinfoBegan, number)
	if err != nil {
		return nil, err
	}
	all := closers{began}
	returns, err := returnsOf(path)
	if err == nil {
		err = p.attachReturns(&all, file, returns, number)
	} else {
		p.log.Debug("The end of getaddrinfo is seen by a probe of its return address", "file", path, "why", err)
		if err = p.returnsAreSafe(); err == nil {
			var returned link.Link
			if returned, err = p.attachUprobe(file.Uretprobe, file.UretprobeMulti, getaddrinfoReturned, number); err == nil {
				all = append(all, returned)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, all.Close())
	}
	return all, nil
}

// attachReturns attaches the program to each instruction that returns.
func (p *Probe) attachReturns(all *closers, file *link.Executable, returns []uint64, number uint64) error {
	for _, at := range returns {
		one := func(_ string, program *ebpf.Program, options *link.UprobeOptions) (link.Link, error) {
			if options == nil {
				options = &link.UprobeOptions{}
			}
			options.Address = at
			return file.Uprobe("", program, options)
		}
		multi := func(_ []string, program *ebpf.Program, options *link.UprobeMultiOptions) (link.Link, error) {
			options.Addresses = []uint64{at}
			return file.UprobeMulti(nil, program, options)
		}
		l, err := p.attachUprobe(one, multi, getaddrinfoReturns, number)
		if err != nil {
			return err
		}
		*all = append(*all, l)
	}
	return nil
}

// attachUprobe attaches a program in one way or in the other, for which it was
// loaded. It tells the kernel the number where that takes one.
func (p *Probe) attachUprobe(one func(string, *ebpf.Program, *link.UprobeOptions) (link.Link, error),
	multi func([]string, *ebpf.Program, *link.UprobeMultiOptions) (link.Link, error), program string, number uint64) (link.Link, error) {
	if p.feature(FeatureLookup).Hook == hookMulti {
		return multi([]string{lookupFunction}, p.lookups[program], &link.UprobeMultiOptions{Cookies: []uint64{number}})
	}
	l, err := one(lookupFunction, p.lookups[program], &link.UprobeOptions{Cookie: number})
	if errors.Is(err, link.ErrNotSupported) {
		l, err = one(lookupFunction, p.lookups[program], nil)
	}
	return l, err
}

// closers are closed in their order.
type closers []io.Closer

func (list closers) Close() error {
	var errs []error
	for _, c := range list {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// ForgetRoots makes the kernel tell of the next exec in each root anew.
func (p *Probe) ForgetRoots() error {
	if p == nil || p.generation == nil {
		return nil
	}
	p.generations++
	if _, err := p.generation.WriteAt(binary.NativeEndian.AppendUint32(nil, p.generations), 0); err != nil {
		return fmt.Errorf("beginning a generation of roots: %w", err)
	}
	return nil
}
