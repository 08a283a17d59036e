# Two commands do all the set-up: `make run` and `make test`.
SHELL := bash
.SHELLFLAGS := -o pipefail -ec
export CGO_ENABLED := 0

# Everything that is made but committed goes below STATE: data, engine, tools.
STATE ?= var
BIN := $(if $(filter var,$(STATE)),bin,$(STATE)/bin)
VERSION := $(shell cat VERSION)
CHDB := chdb@3.4.0
ENGINE := $(STATE)/npm/.installed-$(CHDB)
LIBRARY := $(STATE)/npm/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
KERNELS := $(STATE)/kernels
GRAFANA := @grafana/schema@13.2.3 typescript@5.9.3
GRAFANA_TYPES := $(STATE)/npm-grafana
PROMETHEUS := v0.316.0
PROMTOOL := $(STATE)/tools/promtool-$(PROMETHEUS)
# Debian's, to test with: the oldest that the alerts are for.
DEBIAN_PROMETHEUS := $(STATE)/prometheus
# What the benchmarks compare with; its configuration says where it is built.
PEER := var/bench/peer/peer
GOTESTSUM := gotest.tools/gotestsum@v1.13.0

.PHONY: all run demo build deps kernels prometheus grafana-schema preview-page test test-kernels test-faults lint bench bench-receiver bench-tls bench-faults bench-alerts bench-views bench-sensor bench-kernel bench-dns generate pictures go npm writable

all: build

## run: ClickHouse, collector and sensor on this host; Ctrl-C stops them
run: go npm deps build
	@exec $(BIN)/netview run --state $(STATE) --library $(LIBRARY) $(RUN_FLAGS)

## demo: run, with 24 more sensors that do not exist and an hour of what happened to them
demo: override RUN_FLAGS += --demo
demo: run

## build: netview's programs
build: go writable
	@echo "Building (the first time takes a few minutes) …"
	@go build -v -ldflags '-X github.com/prometheus/common/version.Version=$(VERSION)' -o $(BIN)/ ./cmd/... 2>&1 | awk '/^[^ :\043]+$$/ { if (++n % 100 == 0) print "  " n " packages compiled"; next } { print > "/dev/stderr" }'

## deps: the ClickHouse engine, once
deps: $(ENGINE)

$(ENGINE): | npm writable
	@mkdir -p $(STATE)/npm
	@echo "Installing the ClickHouse engine, $(CHDB), 550 MB on disk; this is done once …"
	@npm install --prefix $(STATE)/npm --no-save --ignore-scripts --no-audit --no-fund $(CHDB) & \
	npm=$$!; while sleep 2; kill -0 $$npm 2>/dev/null; do du -sm $(STATE)/npm 2>/dev/null | awk '{ print "  " $$1 " MB" }'; done; wait $$npm
	@touch $@

## test: every test that can run here; the last line says how many ran and skipped
test: go npm deps build lint kernels prometheus grafana-schema preview-page $(PROMTOOL)
	@PATH="$$PATH:$(abspath $(KERNELS))/unbound/usr/sbin" NETVIEW_BIN=$(abspath $(BIN)) NETVIEW_CHDB_LIBRARY=$(abspath $(LIBRARY)) NETVIEW_PROMTOOL=$(abspath $(PROMTOOL)) NETVIEW_PROMETHEUS=$(abspath $(DEBIAN_PROMETHEUS)) NETVIEW_GRAFANA_SCHEMA=$(abspath $(GRAFANA_TYPES)) NETVIEW_PREVIEW=$(abspath $(PREVIEW)) NETVIEW_KERNELS=$(abspath $(KERNELS)) \
	go run $(GOTESTSUM) --format testname -- -timeout 45m ./...

## test-kernels: the tests of eBPF on Debian's kernels in QEMU and of deploy/ under its systemd, as make test runs them; KERNEL=6.12 RUN=TestEnds or KERNEL=systemd for a part
test-kernels: go kernels
	@NETVIEW_KERNELS=$(abspath $(KERNELS)) NETVIEW_KERNEL='$(value KERNEL)' NETVIEW_KERNEL_RUN='$(value RUN)' go run $(GOTESTSUM) --format testname -- -count=1 -timeout 45m ./internal/testkernel

# Kernels, QEMU, the compiler of BPF and resolvers from Debian's archive, once; where
# they cannot be had, their tests are skipped.
kernels: writable
	@sh internal/testkernel/fetch.sh $(KERNELS)

# Prometheus and Alertmanager from Debian's archive, once; where they cannot be
# had, their tests are skipped.
prometheus: writable
	@sh internal/testprom/fetch.sh $(DEBIAN_PROMETHEUS)

# The types of Grafana's dashboards, once; where npm cannot have them, their test is
# skipped.
grafana-schema: npm writable
	@test -e "$(GRAFANA_TYPES)/.installed-$(subst /,-,$(firstword $(GRAFANA)))" || { \
	npm install --prefix $(GRAFANA_TYPES) --no-save --ignore-scripts --no-audit --no-fund --loglevel=error $(GRAFANA) && \
	touch "$(GRAFANA_TYPES)/.installed-$(subst /,-,$(firstword $(GRAFANA)))"; } || echo "netview: the types of Grafana could not be installed: the test that needs them is skipped" >&2

FAULTS_DURATION ?= 30m

## test-faults: everything killed, stopped, cut and filled in random order; FAULTS_DURATION=30m FAULTS_SEED=…
test-faults: go npm deps build
	@$(FAULTS) go test -count=1 -v -timeout 0 -run TestFaults ./internal/faults

FAULTS = NETVIEW_BIN=$(abspath $(BIN)) NETVIEW_CHDB_LIBRARY=$(abspath $(LIBRARY)) NETVIEW_FAULTS_DURATION=$(FAULTS_DURATION) NETVIEW_FAULTS_SEED=$(FAULTS_SEED)

$(PROMTOOL): | go writable
	@echo "Building promtool $(PROMETHEUS); this is done once …"
	@mkdir -p $(@D)
	@GOBIN=$(abspath $(@D)) go install -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool@$(PROMETHEUS)
	@mv $(@D)/promtool $@

lint: go
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	@go vet ./...

## bench: what docs/measurements.md records
bench: go
	@go test -run xxx -bench . -benchmem ./...
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory bench-sensor bench-kernel bench-dns; else echo "netview: bench-sensor, bench-kernel and bench-dns need root: they are left out"; fi

## bench-receiver: the receiver against otlpreceiver and clickhouseexporter, which is built first
bench-receiver: deps build $(PEER)
	go run ./internal/benchreceiver --library $(LIBRARY) --bin $(BIN) --peer $(PEER)

## bench-tls: the receiver with client certificates against itself in the clear; needs openssl
bench-tls: deps build
	go run ./internal/benchreceiver --library $(LIBRARY) --bin $(BIN) --tls

## bench-faults: the load and the faults of test-faults, for netview and for that peer; FAULTS_DURATION=… for each of four
bench-faults: deps build $(PEER)
	@$(FAULTS) NETVIEW_FAULTS_PEER=$(abspath $(PEER)) go test -run xxx -bench Faults -benchtime 1x -timeout 0 ./internal/faults

$(PEER): internal/benchreceiver/peer.yaml
	@echo "Building the peer, a Collector of released modules; this is done once …"
	@go run go.opentelemetry.io/collector/cmd/builder@v0.161.0 --config $<

## bench-alerts: evaluating the rules over 1,000 sensors' series, for seven minutes
bench-alerts: build prometheus
	@NETVIEW_BIN=$(abspath $(BIN)) NETVIEW_PROMETHEUS=$(abspath $(DEBIAN_PROMETHEUS)) go test -run xxx -bench Rules -benchtime 1x -timeout 30m ./internal/e2e

VIEWS_STORE ?= $(STATE)/bench/day

## bench-views: the views and the dashboards' queries on a day of 200 sensors in VIEWS_STORE, which is filled once and takes 12 GB
bench-views: deps build
	@go run ./internal/benchviews --library $(LIBRARY) --bin $(BIN) --store $(VIEWS_STORE) $(BENCH_FLAGS)

## bench-sensor: a heartbeat's collection against ss and prometheus/procfs; needs root
bench-sensor: go
	@go run ./internal/benchsensor $(BENCH_FLAGS)

## bench-kernel: what the programs in the kernel cost and lose, with the built sensor; needs root and two idle cores
bench-kernel: build
	@go run ./internal/benchkernel $(BENCH_FLAGS)

## bench-dns: the same for questions to dnsmasq in place of connections
bench-dns: build
	@go run ./internal/benchkernel --dns $(BENCH_FLAGS)

## generate: what follows from the code; tests fail where it is not current
generate: go
	@go run ./internal/gendocs docs
	@go run ./dashboards/generate dashboards/json
	@go run ./alerts/generate alerts
	@command -v clang-16 llvm-strip-16 >/dev/null || { echo "netview: the BPF objects are not built anew: apt-get install clang-16 llvm-16 libbpf-dev" >&2; exit 1; }
	@go generate ./sensor/bpf

# The page of the previews, bundled where there is a Chromium to draw it; else its
# test is skipped.
preview-page:
	@command -v chromium >/dev/null || { echo "netview: chromium is not installed: the test that draws a preview is skipped" >&2; exit 0; }; \
	$(MAKE) --no-print-directory $(PAGE) || echo "netview: the page of the previews could not be bundled: the test that draws one is skipped" >&2

PREVIEW := $(STATE)/preview
PAGE := $(PREVIEW)/page.js
PAGE_MODULES := $(PREVIEW)/node_modules/.package-lock.json

## pictures: a preview of each dashboard, of what `make demo` runs; needs Chromium; PICTURES_FLAGS="--prometheus http://HOST:9090"
pictures: go $(PAGE)
	@command -v chromium >/dev/null || { echo "netview: chromium is not installed: apt-get install chromium" >&2; exit 1; }
	@go run ./dashboards/preview --out docs/pictures --page $(PREVIEW) --clickhouse-password-file $(STATE)/clickhouse/credentials/netview_reader.password --var 'sensor=~^generated-' $(PICTURES_FLAGS) dashboards/json/*.json

$(PAGE): $(wildcard dashboards/preview/page/*.js dashboards/preview/page/*.css) $(PAGE_MODULES)
	@NODE_PATH=$(abspath $(PREVIEW))/node_modules $(PREVIEW)/node_modules/.bin/esbuild dashboards/preview/page/page.js --bundle --minify --format=iife --outdir=$(PREVIEW) --log-level=warning

$(PAGE_MODULES): $(wildcard dashboards/preview/page/package*.json) | npm writable
	@echo "Installing what draws the previews of dashboards, 190 MB on disk; this is done once …"
	@mkdir -p $(PREVIEW)
	@cp dashboards/preview/page/package*.json $(PREVIEW)/
	@npm ci --prefix $(PREVIEW) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

go npm:
	@command -v $@ >/dev/null || { echo "netview: $@ is not installed or not in PATH: install it (README, \"Run it\")" >&2; exit 1; }

writable:
	@mkdir -p $(STATE) $(BIN) 2>/dev/null && test -w $(STATE) -a -w $(BIN) || \
	{ echo "netview: cannot write to $(STATE) and $(BIN) in $(CURDIR): give a directory that you can write to, as in: make run STATE=/var/tmp/netview" >&2; exit 1; }
