// Command netview-collector is an OpenTelemetry Collector with the netview
// receiver and the few standard components that its place asks for: otlp in and
// out to pass other telemetry through, debug to look, nop to end a pipeline at
// ClickHouse, batch and memory_limiter for what is passed on, bearertokenauth for
// senders without certificates, health_check and zpages for those who run it. It has the shape that the Collector's builder
// writes.
package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/healthcheckextension"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/nopexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/zpagesextension"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"

	"github.com/prometheus/common/version"

	"github.com/netview-project/netview/otelreceiver"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

func main() {
	if err := checkArguments(os.Args[1:]); err != nil {
		fail(err)
	}
	settings := otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{
			Command:     "netview-collector",
			Description: "OpenTelemetry Collector with the netview receiver",
			Version:     version.Version,
		},
		Factories: components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{
					envprovider.NewFactory(), fileprovider.NewFactory(), yamlprovider.NewFactory(),
				},
				DefaultScheme: "env",
			},
		},
	}
	// The health check must follow the receiver's status: a collector that cannot
	// reach ClickHouse is not ready.
	if err := featuregate.GlobalRegistry().Set("extension.healthcheck.useComponentStatus", true); err != nil {
		fail(err)
	}
	command := otelcol.NewCommand(settings)
	command.SilenceErrors = true // printed below
	if err := command.Execute(); err != nil {
		fail(err)
	}
}

var address = regexp.MustCompile(`(?:clickhouse|https?)://[^\s'"]+`)

// checkArguments refuses a password in --set or in a configuration that is given as
// text: everybody on the host can read the command line.
func checkArguments(arguments []string) error {
	for _, argument := range arguments {
		for _, dsn := range address.FindAllString(argument, -1) {
			if !strings.Contains(dsn, "${") && clickhouse.HasPassword(dsn) {
				return errors.New("the command line holds a password, which everybody on this host could read: put it in the environment or a file, and ${env:NAME} or ${file:PATH} in the configuration")
			}
		}
	}
	return nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "netview-collector:", err)
	os.Exit(1)
}

func components() (otelcol.Factories, error) {
	var f otelcol.Factories
	var err error
	if f.Receivers, err = otelcol.MakeFactoryMap[receiver.Factory](otelreceiver.NewFactory(), otlpreceiver.NewFactory()); err != nil {
		return f, err
	}
	if f.Processors, err = otelcol.MakeFactoryMap[processor.Factory](batchprocessor.NewFactory(), memorylimiterprocessor.NewFactory()); err != nil {
		return f, err
	}
	if f.Exporters, err = otelcol.MakeFactoryMap[exporter.Factory](nopexporter.NewFactory(), debugexporter.NewFactory(), otlpexporter.NewFactory(), otlphttpexporter.NewFactory()); err != nil {
		return f, err
	}
	f.Extensions, err = otelcol.MakeFactoryMap[extension.Factory](bearertokenauthextension.NewFactory(), healthcheckextension.NewFactory(), zpagesextension.NewFactory())
	f.Telemetry = otelconftelemetry.NewFactory()
	return f, err
}
