package main

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/netview-project/netview/sensor/deliver"
	"github.com/netview-project/netview/sensor/dns"
	"github.com/netview-project/netview/sensor/process"
	"github.com/netview-project/netview/sensor/socket"
)

func TestDocumentsAreCurrent(t *testing.T) {
	for name, document := range documents {
		want, err := document()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../../docs/" + name)
		if err != nil || string(got) != want {
			t.Errorf("docs/%s does not follow from the code (%v): run `make generate`", name, err)
		}
	}
}

// TestEveryCauseIsExplained: each value of the label cause stands in docs/metrics.md.
func TestEveryCauseIsExplained(t *testing.T) {
	text, err := metrics()
	if err != nil {
		t.Fatal(err)
	}
	var causes []string
	causes = slices.AppendSeq(causes, maps.Keys(new(socket.Reader).Counts()))
	causes = slices.AppendSeq(causes, maps.Keys(new(process.Table).Counts()))
	causes = append(causes, deliver.Causes()...)
	causes = append(causes, dns.Causes()...)
	for _, cause := range causes {
		if !strings.Contains(text, "`"+cause+"`") {
			t.Errorf("the cause %s is not explained", cause)
		}
	}
	if len(causes) < 10 {
		t.Errorf("only the causes %v are known", causes)
	}
}
