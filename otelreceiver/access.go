package otelreceiver

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// largestAccess is the most that an access file may be, in bytes.
const largestAccess = 16 << 20

// access is what the access file says; its zero lets in every sensor that has a
// certificate, and no relay.
type access struct {
	sensors *names            // nil for all
	revoked map[string]bool   // serial numbers, as [serialOf] writes them
	relays  map[string]*names // by the whole URI in their certificate
}

// accessFile is its form in YAML.
type accessFile struct {
	// Sensors that may send. A name that ends in * stands for all that begin so.
	Sensors *[]string `mapstructure:"sensors"`
	// Revoked certificates, by serial number in hexadecimal.
	Revoked []string `mapstructure:"revoked"`
	// Relays are certificates, by URI, with the sensors that they may speak for.
	Relays map[string][]string `mapstructure:"relays"`
}

func parseAccess(text []byte) (*access, error) {
	retrieved, err := confmap.NewRetrievedFromYAML(text)
	if err != nil {
		return nil, err
	}
	conf, err := retrieved.AsConf()
	if err != nil {
		return nil, err
	}
	var file accessFile
	if err := conf.Unmarshal(&file); err != nil {
		return nil, err
	}
	a := &access{revoked: map[string]bool{}, relays: map[string]*names{}}
	var errs []error
	list := func(key string, patterns []string) *names {
		n, err := newNames(patterns)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
		return n
	}
	if file.Sensors != nil {
		a.sensors = list("sensors", *file.Sensors)
	}
	for uri, sensors := range file.Relays {
		a.relays[uri] = list("relays::"+uri, sensors)
	}
	for _, text := range file.Revoked {
		serial, ok := new(big.Int).SetString(strings.ReplaceAll(text, ":", ""), 16)
		if !ok {
			errs = append(errs, fmt.Errorf("revoked: %.80q is not a serial number in hexadecimal, as `openssl x509 -noout -serial` prints it", text))
			continue
		}
		a.revoked[serialOf(serial)] = true
	}
	return a, errors.Join(errs...)
}

func serialOf(serial *big.Int) string { return fmt.Sprintf("%X", serial) }

// names is a set of sensor_ids.
type names struct {
	exact    map[string]bool
	prefixes []string
}

func newNames(patterns []string) (*names, error) {
	n := &names{exact: map[string]bool{}}
	for _, pattern := range patterns {
		prefix, open := strings.CutSuffix(pattern, "*")
		if strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" || pattern == "" || len(pattern) > 65 {
			return n, fmt.Errorf("%.80q is not a sensor_id, nor the beginning of one with a * at its end", pattern)
		}
		if open {
			n.prefixes = append(n.prefixes, prefix)
		} else {
			n.exact[pattern] = true
		}
	}
	return n, nil
}

func (n *names) has(name string) bool {
	if n.exact[name] {
		return true
	}
	for _, prefix := range n.prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// readAccess reads an access file. Without one it is the zero.
func readAccess(file string) (*access, error) {
	if file == "" {
		return &access{}, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("identity::access_file: %w", err)
	}
	if info.Size() > largestAccess {
		return nil, fmt.Errorf("identity::access_file: %s has %d bytes: at most %d are read", file, info.Size(), largestAccess)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("identity::access_file: %w", err)
	}
	a, err := parseAccess(text)
	if err != nil {
		return nil, fmt.Errorf("identity::access_file %s: %w", file, err)
	}
	return a, nil
}

// rereadAccess reads an access file that is another than the one seen, or could not be
// read then; nil where it is the same. now is what to call it with next.
func rereadAccess(file string, seen os.FileInfo) (next *access, now os.FileInfo, err error) {
	now, err = os.Stat(file)
	if err == nil && seen != nil && os.SameFile(now, seen) && now.ModTime().Equal(seen.ModTime()) && now.Size() == seen.Size() {
		return nil, now, nil
	}
	if next, err = readAccess(file); err != nil {
		return nil, nil, err
	}
	return next, now, nil
}
