// Command generate writes netview's Prometheus rules. `make generate` calls it for
// the committed files; with its flags it writes those of another place.
package main

import (
	"os"
	"path/filepath"

	"github.com/alecthomas/kingpin/v2"

	"github.com/netview-project/netview/alerts"
)

func main() {
	app := kingpin.New("generate", "Writes netview's Prometheus rules, and the PrometheusRule of the operator.")
	settings := alerts.Defaults()
	app.Flag("sensor-job", "Job that scrapes the sensors.").Default(settings.SensorJob).StringVar(&settings.SensorJob)
	app.Flag("collector-job", "Job that scrapes the collectors.").Default(settings.CollectorJob).StringVar(&settings.CollectorJob)
	app.Flag("dashboards", "Address of Grafana.").Default(settings.Dashboards).StringVar(&settings.Dashboards)
	app.Flag("runbook", "Address of runbook.md.").Default(settings.Runbook).StringVar(&settings.Runbook)
	directory := app.Arg("directory", "Where the files go.").Required().ExistingDir()
	kingpin.MustParse(app.Parse(os.Args[1:]))
	files, err := alerts.Files(&settings)
	app.FatalIfError(err, "making the rules")
	for name, text := range files {
		path := filepath.Join(*directory, name)
		app.FatalIfError(os.MkdirAll(filepath.Dir(path), 0o755), "making the folder of the rules")
		app.FatalIfError(os.WriteFile(path, text, 0o644), "writing the rules")
	}
}
