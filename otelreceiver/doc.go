// Package otelreceiver is the OpenTelemetry Collector receiver `netview`: OTLP
// logs from netview sensors into ClickHouse, acknowledged after the commit.
package otelreceiver
