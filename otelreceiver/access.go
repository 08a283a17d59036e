package otelreceiver

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"
)

// accessInterval is how often the access file is looked at: what is revoked there
// is refused within this time.
const accessInterval = time.Second

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

// watchAccess reads the access file again whenever it changes, until ctx ends. One
// that cannot be read changes nothing: what it said before holds.
func (g *gate) watchAccess(ctx context.Context, file string) {
	seen, _ := os.Stat(file)
	failed := ""
	ticker := time.NewTicker(accessInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now, err := os.Stat(file)
		if err == nil && seen != nil && failed == "" && os.SameFile(now, seen) && now.ModTime().Equal(seen.ModTime()) && now.Size() == seen.Size() {
			continue
		}
		next, err := readAccess(file)
		if err != nil {
			if failed != err.Error() {
				g.log.Error("The access file cannot be read: what it said before holds", zap.Error(err))
			}
			failed = err.Error()
			continue
		}
		seen, failed = now, ""
		g.access.Store(next)
		g.log.Info("Read the access file", zap.String("file", file), zap.Int("revoked", len(next.revoked)), zap.Int("relays", len(next.relays)))
	}
}
