package rights

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDeploy: the unit and the security context that are shipped give what the
// features need, no less and no more.
func TestDeploy(t *testing.T) {
	all, _ := Least()
	slices.Sort(all)
	read := func(file string) string {
		text, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	unit := read("netview-sensor.service")
	for _, setting := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		_, rest, _ := strings.Cut(unit, "\n"+setting+"=")
		line, _, _ := strings.Cut(rest, "\n")
		given := strings.Fields(line)
		slices.Sort(given)
		if !slices.Equal(given, all) {
			t.Errorf("%s of the unit is %v, the features need %v", setting, given, all)
		}
	}
	added := regexp.MustCompile(`add: \[(.*)\]`).FindStringSubmatch(read("sensor-daemonset.yaml"))
	var given []string
	for name := range strings.SplitSeq(added[1], ", ") {
		if name != "SETPCAP" { // with which it empties the bounding set
			given = append(given, "CAP_"+name)
		}
	}
	slices.Sort(given)
	if !slices.Equal(given, all) {
		t.Errorf("the security context adds %v, the features need %v", given, all)
	}
}
