# Two commands do all the set-up: `make run` and `make test`.
CHDB := chdb@3.4.0
LIBRARY := var/npm/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
GOTESTSUM := gotest.tools/gotestsum@v1.13.0
export CGO_ENABLED := 0

.PHONY: all build deps test lint

all: build

## build: netview's programs into bin/
build:
	@mkdir -p bin
	go build -trimpath -o bin/ ./cmd/...

## deps: the ClickHouse engine (about 550 MB on disk), once
deps: $(LIBRARY)

$(LIBRARY):
	@echo "Installing the ClickHouse engine ($(CHDB)) into var/npm; this is done once …"
	@mkdir -p var/npm
	npm install --prefix var/npm --no-save --ignore-scripts $(CHDB)
	@touch $@

## test: every test that can run here; the last line says how many ran and skipped
test: deps lint
	go run $(GOTESTSUM) --format testname -- -timeout 10m ./...

lint:
	@test -z "$$(gofmt -l . | grep -v node_modules)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	go vet ./...
