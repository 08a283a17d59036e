package probe

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/rights"
)

// Feature is what became of one.
type Feature struct {
	Name string
	// Hook that it rests on, where it is on; else the last that was tried.
	Hook string
	// Err is why it is off, with each hook that was tried, and Remedy what may
	// help; nil where it is on.
	Err    error
	Remedy string
}

var (
	errNotAsked = errors.New("not asked for (--ebpf)")
	// errRests is why features are off that tell nothing by themselves.
	errRests = fmt.Errorf("it rests on the feature %s", FeatureFlow)
	// errElsewhere is why a hook does not serve a feature by the way.
	errElsewhere = errors.New("no other feature has it")
	// errSilent is why a feature is off whose programs were attached in vain.
	errSilent = errors.New("it is attached, but tells nothing of what the sensor does to test it")
	// errUnnamed is the same, of the cookies of sockets.
	errUnnamed = errors.New("a socket that the sensor makes to test it is told without its cookie")
	// errUnlisted is why the kernel would not call the program of FeatureLSM.
	errUnlisted = errors.New("bpf is not among the kernel's security modules")
)

// names of the features, in the order of candidates.
func names(candidates []candidate) (list []Feature) {
	for _, c := range candidates {
		if len(list) == 0 || list[len(list)-1].Name != c.feature {
			list = append(list, Feature{Name: c.feature, Hook: c.hook})
		}
	}
	return list
}

// choose brings the first candidate of each feature into the kernel that can be
// attached and passes the test, but of none that is left out.
func (p *Probe) choose(candidates []candidate, leftOut []string) {
	p.features = names(candidates)
	for _, name := range leftOut {
		if f := p.feature(name); f != nil {
			f.Err = fmt.Errorf("not asked for (%s)", flags[name])
		}
	}
	if err := p.test.begin(); err != nil {
		p.log.Debug("The self-test has not every older connection", "err", err)
	}
	left := slices.DeleteFunc(slices.Clone(candidates), func(c candidate) bool { return slices.Contains(leftOut, c.feature) })
	for len(left) > 0 {
		var next []candidate
		tried := map[string]*candidate{}
		for i := range left {
			c := &left[i]
			switch {
			case tried[c.feature] != nil:
				next = append(next, *c) // for the next round, unless this one does
			case p.On(c.feature):
			default:
				if p.try(c) {
					tried[c.feature] = c
				}
				_ = p.makeRoom() // a reader that fails tells it again
			}
		}
		failed := p.testAll(tried)
		for feature, c := range tried {
			if err := failed[feature]; err != nil {
				p.refuse(c, err)
			} else if f := p.feature(feature); p.On(feature) {
				f.Err, f.Remedy = nil, ""
			}
		}
		left = next
	}
	p.test.end()
	_ = p.makeRoom() // nor is the rest of the test to be told; as above
	for _, closers := range p.attached {
		for _, c := range closers {
			if program, is := c.(*ebpf.Program); is {
				p.programs = append(p.programs, program)
			}
		}
	}
}

// On reports whether the programs of a feature are attached.
func (p *Probe) On(name string) bool {
	return len(p.attached[name]) > 0
}

// hooked reports whether the programs of some feature are attached to a hook.
func (p *Probe) hooked(hook string) bool {
	for _, f := range p.features {
		if f.Hook == hook && p.On(f.Name) {
			return true
		}
	}
	return false
}

func (p *Probe) feature(name string) *Feature {
	for i := range p.features {
		if p.features[i].Name == name {
			return &p.features[i]
		}
	}
	return nil
}

// try attaches a candidate, and reports whether it can be tested.
func (p *Probe) try(c *candidate) bool {
	f := p.feature(c.feature)
	f.Hook = c.hook
	if c.feature != FeatureFlow && p.reader == nil {
		f.Err, f.Remedy = errRests, p.feature(FeatureFlow).Remedy
		return false
	}
	if err := p.add(c); err != nil {
		p.refuse(c, err)
		return false
	}
	return true
}

// nothing is what is attached for a feature that the programs of another make.
var nothing io.Closer = io.NopCloser(nil)

// add brings the programs of a candidate into the kernel.
func (p *Probe) add(c *candidate) error {
	if c.load == nil {
		if !p.hooked(c.hook) {
			return errElsewhere
		}
		p.attached[c.feature] = []io.Closer{nothing}
		return nil
	}
	spec, err := c.load()
	if err != nil {
		return err
	}
	replacements := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m := p.shared[name]; m != nil && !strings.HasPrefix(name, ".") { // such are the variables of one object
			replacements[name] = m
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return err
	}
	closers := []io.Closer{nothing}
	links, err := c.attach(collection)
	closers = append(closers, links...)
	for _, program := range collection.Programs {
		closers = append(closers, program)
	}
	if err == nil && p.reader == nil {
		err = p.read(collection)
	}
	if err == nil {
		err = p.keep(c.feature, collection)
	}
	if err != nil {
		for _, c := range closers {
			_ = c.Close() // what cannot be taken out goes with the process
		}
		for _, m := range collection.Maps { // the shared ones are duplicates here
			_ = m.Close()
		}
		return err
	}
	for name, m := range collection.Maps {
		if p.shared[name] == nil {
			p.shared[name] = m
		} else {
			_ = m.Close()
		}
	}
	p.attached[c.feature] = closers
	return nil
}

// read opens the way out of the kernel.
func (p *Probe) read(collection *ebpf.Collection) (err error) {
	if p.losses, err = lossesOf(collection.Maps["losses"]); err != nil {
		return fmt.Errorf("mapping the counters of losses: %w", err)
	}
	p.reader, err = ringbuf.NewReader(collection.Maps["events"])
	return err
}

// refuse takes a candidate out of the kernel, and with the first feature all.
func (p *Probe) refuse(c *candidate, why error) {
	f := p.feature(c.feature)
	f.Err, f.Remedy = errors.Join(f.Err, fmt.Errorf("%s: %w", c.hook, plain(why))), remedy(c.feature, why)
	p.detach(c.feature)
	if c.feature != FeatureFlow || p.reader == nil {
		return
	}
	p.reader.Close()
	p.reader = nil
	for i := range p.features {
		if f := &p.features[i]; f.Name != FeatureFlow {
			p.detach(f.Name)
			f.Err, f.Remedy = errRests, p.feature(FeatureFlow).Remedy
		}
	}
}

func (p *Probe) detach(feature string) {
	for _, c := range p.attached[feature] {
		_ = c.Close() // what cannot be taken out goes with the process
	}
	delete(p.attached, feature)
}

// plain is a refusal without the guess of the loader that memory may be locked,
// which it is not since 5.11.
func plain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("EPERM (%w)", unix.EPERM)
	}
	return err
}

// remedy is what may help against the refusal of a feature's program.
func remedy(feature string, err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errUnlisted), errors.Is(err, errSilent) && feature == FeatureLSM:
		return "put bpf into the list lsm= of the kernel's command line"
	case errors.Is(err, errCgroup):
		return "run the sensor in the host's cgroup namespace, as by docker run --cgroupns=host, or mount the host's /sys/fs/cgroup at the same place"
	case errors.Is(err, errNoRing):
		return "none where nobody may use io_uring (sysctl kernel.io_uring_disabled); in a container a seccomp profile that lets the sensor use it"
	case errors.Is(err, errNoPort):
		return "start the sensor while nobody has port 5353 or 53 of all addresses for himself"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return cmp.Or(rights.Remedy(feature), "a kernel that offers the hook: the sensor has the capabilities for it, and this one refuses")
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOENT):
		return "a kernel from 5.10 on with BTF (CONFIG_DEBUG_INFO_BTF) and this hook"
	}
	return "see the sensor's log, and report it with the kernel's release"
}
