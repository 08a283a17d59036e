package probe

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

// TestAsk: the self-test's question reaches nobody else, whoever has its port.
func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		shared, alone []int // ports that another has on all addresses
		want          error
	}{
		"nobody has the ports":                                    {nil, nil, nil},
		"somebody shares them":                                    {[]int{5353, 53}, nil, nil},
		"somebody has that of mDNS alone":                         {nil, []int{5353}, nil},
		"somebody has that of mDNS alone, and shares that of DNS": {[]int{53}, []int{5353}, nil},
		"somebody has both alone":                                 {nil, []int{5353, 53}, errNoPort},
	} {
		t.Run(name, func(t *testing.T) {
			testns.New(t).Do(t, func() error {
				k := &talk{cookies: map[uint64]bool{}}
				defer k.close()
				for _, port := range c.shared {
					if _, err := k.bound(unix.SOCK_DGRAM, any4(port)); err != nil {
						return err
					}
				}
				for _, port := range c.alone {
					fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
					if err != nil {
						return err
					}
					k.fds = append(k.fds, fd)
					if err := unix.Bind(fd, any4(port)); err != nil {
						return err
					}
				}
				test := &selfTest{}
				if err := test.ask(); !errors.Is(err, c.want) || test.asker == 0 && c.want == nil {
					return fmt.Errorf("asking, as socket %d: %w", test.asker, err)
				}
				for _, fd := range k.fds {
					if n, _, err := unix.Recvfrom(fd, make([]byte, 100), unix.MSG_DONTWAIT); err != unix.EAGAIN {
						return fmt.Errorf("a stranger receives %d bytes: %w", n, err)
					}
				}
				return nil
			})
		})
	}
}
