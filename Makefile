# Two commands do all the set-up: `make run` and `make test`.
CHDB := chdb@3.4.0
LIBRARY := var/npm/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
GOTESTSUM := gotest.tools/gotestsum@v1.13.0
export CGO_ENABLED := 0

.PHONY: all run build deps test lint

all: build

## build: netview's programs into bin/
build:
	@mkdir -p bin
	@echo "Building (the first time takes a minute or two) …"
	@go build -o bin/ ./cmd/...

## deps: the ClickHouse engine (about 550 MB on disk), once
deps: $(LIBRARY)

$(LIBRARY):
	@echo "Installing the ClickHouse engine ($(CHDB)) into var/npm; this is done once …"
	@mkdir -p var/npm
	npm install --prefix var/npm --no-save --ignore-scripts $(CHDB)
	@touch $@

## run: ClickHouse, collector and sensor on this host; Ctrl-C stops them
run: deps build
	@exec bin/netview run $(RUN_FLAGS)

## test: every test that can run here; the last line says how many ran and skipped
test: deps lint
	go run $(GOTESTSUM) --format testname -- -timeout 10m ./...

lint:
	@test -z "$$(gofmt -l . | grep -v node_modules)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	go vet ./...
