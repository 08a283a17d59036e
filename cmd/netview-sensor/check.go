package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/netview-project/netview/sensor"
)

// report prints what the host gives; its error says which required feature is off.
func report(ctx context.Context, out io.Writer, config sensor.Config, required []string, format string) error {
	r, err := sensor.Check(ctx, config)
	if err != nil {
		return err
	}
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		err = printReport(out, &r)
	}
	if err != nil {
		return err
	}
	return r.Missing(required)
}

func printReport(out io.Writer, r *sensor.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(format string, a ...any) { fmt.Fprintf(table, format+"\n", a...) }
	state := func(on bool, words [2]string) string {
		if on {
			return words[0]
		}
		return words[1]
	}
	row("SENSOR\t%s on %s, Linux %s %s, uid %d", r.SensorID, r.HostName, r.KernelRelease, r.Arch, os.Geteuid())
	row("FOUND\t%d connections, %d TCP and %d UDP listeners in %d network namespaces; %d of these sockets with their process",
		r.Connections, r.TCPListeners, r.UDPListeners, r.Namespaces, r.Owned)
	if r.Collector != nil {
		row("COLLECTOR\t%s %s", r.Collector.Endpoint, state(r.Collector.Error == "", [2]string{"answers", "does not answer: " + r.Collector.Error}))
	}
	more := func(title, text string) {
		if text != "" {
			row("\t\t  %s: %s", title, text)
		}
	}
	row("\nFEATURE\tSTATE\tHOOK\tGIVES")
	for _, f := range r.Features {
		row("%s\t%s\t%s\t%s", f.Name, state(f.Off == "", [2]string{"on", "off"}), cmp.Or(f.Hook, "-"), f.Gives)
		more("why not", f.Off)
		more("remedy", f.Remedy)
	}
	if len(r.Libraries) > 0 {
		row("\nLIBC\tLOOKUPS\tPROCESSES")
	}
	for _, l := range r.Libraries {
		row("%s\t%s\t%d", l.Path, state(l.Off == "", [2]string{"told", "not told"}), l.Processes)
		more("why not", l.Off)
	}
	row("\nRIGHT\tHELD\tNEEDED\tFOR")
	for _, right := range r.Rights {
		row("%s\t%s\t%s\t%s", right.Name, state(right.Held, [2]string{"yes", "no"}), state(right.Kept != "", [2]string{"always", "to start"}), right.For)
		if !right.Held && right.Instead != "" {
			more("or", right.Instead)
		}
	}
	if len(r.Losses) > 0 {
		row("\nMISSING\tCOUNT\tWHAT")
		for _, l := range r.Losses {
			row("%s\t%d\t%s", l.Cause, l.Count, l.Lost)
			more("first", l.First)
			more("remedy", l.Remedy)
		}
	}
	return table.Flush()
}
