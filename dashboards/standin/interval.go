package standin

import "time"

// Interval between the points of a graph: the range over so many pixels, rounded as
// Grafana does it (rangeUtil.roundInterval), and not below a panel's own.
func Interval(length time.Duration, points int, least time.Duration) time.Duration {
	exact := length / time.Duration(max(1, points))
	if exact <= least {
		return max(least, time.Millisecond)
	}
	for _, step := range []struct{ below, rounded time.Duration }{
		{10 * ms, ms}, {15 * ms, 10 * ms}, {35 * ms, 20 * ms}, {75 * ms, 50 * ms}, {150 * ms, 100 * ms}, {350 * ms, 200 * ms}, {750 * ms, 500 * ms},
		{1500 * ms, s}, {3500 * ms, 2 * s}, {7500 * ms, 5 * s}, {12500 * ms, 10 * s}, {17500 * ms, 15 * s}, {25 * s, 20 * s}, {45 * s, 30 * s},
		{90 * s, m}, {210 * s, 2 * m}, {450 * s, 5 * m}, {750 * s, 10 * m}, {1050 * s, 15 * m}, {25 * m, 20 * m}, {45 * m, 30 * m},
		{90 * m, h}, {150 * m, 2 * h}, {270 * m, 3 * h}, {9 * h, 6 * h}, {24 * h, 12 * h}, {7 * 24 * h, 24 * h},
	} {
		if exact < step.below {
			return step.rounded
		}
	}
	return 7 * 24 * h
}

const (
	ms = time.Millisecond
	s  = time.Second
	m  = time.Minute
	h  = time.Hour
)
