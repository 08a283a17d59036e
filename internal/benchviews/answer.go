package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// answer is what a question cost: the times in milliseconds, of which cpu is the
// server's for one answer.
type answer struct {
	p50, p95, cpu  float64
	read, returned uint64 // rows
}

// patience with one question: what takes long is asked less often.
const patience = time.Minute

// measure asks twice to warm up, and then so many times, or three at least. A time
// is from asking to the last row at the client. What takes longer than the reader
// may is told as infinite.
func measure(ctx context.Context, conn driver.Conn, pid int, query string, rounds int) (a answer, err error) {
	once := func() (took float64, err error) {
		a.read, a.returned = 0, 0
		begun := time.Now()
		rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithProgress(func(p *clickhouse.Progress) { a.read += p.Rows })), query)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
			a.returned++
		}
		return time.Since(begun).Seconds() * 1000, rows.Err()
	}
	var times []float64
	var before float64
	for i, begun := 0, time.Now(); i < rounds+2 && (i < 5 || time.Since(begun) < patience); i++ {
		if i == 2 {
			if before, err = cpuSeconds(pid); err != nil {
				return a, err
			}
		}
		took, err := once()
		var exception *clickhouse.Exception
		if errors.As(err, &exception) && exception.Code == int32(chproto.ErrTimeoutExceeded) {
			return answer{p50: math.Inf(1), p95: math.Inf(1), read: a.read}, nil
		}
		if err != nil {
			return a, fmt.Errorf("%w\n%s", err, query)
		}
		if i >= 2 {
			times = append(times, took)
		}
	}
	after, err := cpuSeconds(pid)
	slices.Sort(times)
	a.p50, a.p95, a.cpu = times[len(times)/2], times[(len(times)*95+99)/100-1], (after-before)*1000/float64(len(times))
	return a, err
}

// cpuSeconds that a process has used.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	var user, system float64
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return (user + system) / 100, nil // USER_HZ, the same on every Linux that Go runs on
}

// What an answer may take, in milliseconds.
const aimOne, aimFleet = 100, 1000

// print the table in Markdown. What misses the aim is bold.
func (t table) print(answers map[string]answer) {
	if len(t.questions) == 0 {
		return
	}
	fmt.Printf("\n%s\n\n| | one sensor: p50 | p95 | CPU | read | returned | fleet: p50 | p95 | CPU | read | returned |\n|---|---|---|---|---|---|---|---|---|---|---|\n", t.title)
	for _, q := range t.questions {
		fmt.Printf("| %s | %s | %s |\n", q.name, answers[q.one].cells(aimOne), answers[q.fleet].cells(aimFleet))
	}
}

func (a answer) cells(aim float64) string {
	if a == (answer{}) {
		return "| | | |"
	}
	time := func(ms float64) string {
		if math.IsInf(ms, 1) {
			return "**no answer**"
		}
		text := thousands(uint64(ms + 0.5))
		if ms > aim {
			return "**" + text + "**"
		}
		return text
	}
	return strings.Join([]string{time(a.p50), time(a.p95), thousands(uint64(a.cpu + 0.5)), thousands(a.read), thousands(a.returned)}, " | ")
}

// thousands is a number with commas.
func thousands(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
