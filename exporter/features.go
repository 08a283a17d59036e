package exporter

import (
	"strings"

	"github.com/netview-project/netview/event"
)

var (
	info    = gauge("sensor_info", "What the sensor is; always 1.", "mode", "host_name", "arch", "kernel_release", "version")
	feature = gauge("feature_enabled", "Whether a feature works (1) or not (0), the hook of the kernel that it rests on, and why it does not.", "feature", "hook", "reason")
)

var featureMetrics = family{
	title:   "Sensor",
	metrics: []*metric{info, feature},
	collect: func(s *event.State, emit emit) {
		if s.Snapshot == nil {
			return
		}
		h := s.Snapshot.Heartbeat
		emit(info, 1, h.Mode, h.HostName, h.Arch, h.KernelRelease, h.Version)
		for name, state := range h.Features {
			if reason, off := strings.CutPrefix(state, event.FeatureOff); off {
				emit(feature, 0, name, "", reason)
			} else {
				emit(feature, 1, name, strings.TrimPrefix(strings.TrimPrefix(state, event.FeatureOn), ": "), "")
			}
		}
	},
}
