package rights

import (
	"slices"
	"strings"
	"sync"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// atStart is what was in effect when it was first asked for, which [Keep] does
// before it drops any: what the sensor has dropped itself is not missing.
var atStart = sync.OnceValues(func() (*cap.Set, error) { return cap.GetPID(0) })

// Held is the table with what the sensor had when it started.
func Held() []Right {
	list := Table()
	set, err := atStart()
	if err != nil {
		return list // as one without rights
	}
	for i := range list {
		// Its error is that of a capability which this kernel does not know.
		list[i].Held, _ = set.GetFlag(cap.Effective, list[i].value)
	}
	return list
}

// Missing names the capabilities that features need and the sensor did not have
// when it started, without those that another one of them includes.
func Missing(features ...string) []string { return missing(Held(), features) }

func missing(held []Right, features []string) (names []string) {
	needed := func(r Right) bool {
		return slices.ContainsFunc(features, func(name string) bool { return slices.Contains(r.Features, name) })
	}
	there := map[string]bool{}
	for _, r := range held {
		there[r.Name] = r.Held || needed(r)
	}
	for _, r := range held {
		if needed(r) && !r.Held && !there[r.Instead] {
			names = append(names, r.Name)
		}
	}
	return names
}

// Remedy says which capabilities would give features; nothing where the sensor has
// them all, so that rights are not what it lacks.
func Remedy(features ...string) string {
	if names := Missing(features...); len(names) > 0 {
		return "give the sensor " + list(names) + " (docs/rights.md)"
	}
	return ""
}

// list joins names as a sentence does.
func list(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
