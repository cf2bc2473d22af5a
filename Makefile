# Every directory with a go.mod is a module that is tested and linted, except
# for tools/, which only pins the versions of the developers' tools.
MODULES := $(sort $(patsubst %/go.mod,%,$(shell find . \( -name '.?*' -o -name node_modules -o -path ./tools \) -prune -o -name go.mod -print)))
$(if $(MODULES),,$(error no go.mod found: every target would pass without having done anything))

# The modules that others can get or install, each with tags of its own; the rest is for the tests.
RELEASED := . natsdispatch oteldispatch natsdispatch/cmd/dispatch

# A tool at its pinned version, whatever module it is run in.
TOOL := go tool -modfile='$(CURDIR)/tools/go.mod'

# How long each fuzz target runs, and the least coverage of the root package in percent.
FUZZTIME ?= 1m
MIN_COVERAGE ?= 95

# Somebody's go.work must not change the versions that are tested.
export GOWORK := off

# $(call each,command) runs a command in every module and stops at the first that fails.
each = @set -e; for module in $(MODULES); do echo "== $$module: $(1)"; (cd "$$module" && $(1)); done

# How long the soak goes on.
MINUTES ?= 1

# The oldest Go that the root module works with.
OLDEST_GO ?= go1.25.14

# If it is not empty, make test fails where it would skip what the machine lacks.
NO_SKIPS ?=

.PHONY: help quick test deps variants lint words cover fuzz bench chart hedge scale house soak mutants shake stranger release

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "modules: $(MODULES)"

quick: ## test what the root module gives to users, in short mode, without the race detector
	go test -short -vet=off ./examples/... ./dispatchtest ./internal/... ./dispatchdebug .

test: ## test every module under the race detector, in random order; skip what the machine lacks
	@go run ./test/modules $(if $(NO_SKIPS),-no-skips) $(MODULES)

deps: ## install what the tests use besides Go (on Debian, as root or with sudo)
	@.ci/deps

variants: ## test with the oldest Go, and the root package on 32 bits, on one processor, and with panicnil=1
	GOTOOLCHAIN=$(OLDEST_GO) go test ./...
	@.ci/test386
	GOMAXPROCS=1 go test -count=1 .
	GODEBUG=panicnil=1 go test -count=1 .

lint: words ## check every module's format, vet and staticcheck it; check the mutants and what the root depends on
	@.ci/leftovers
	@.ci/mutants
	@.ci/format
	$(call each,go vet ./...)
	$(call each,$(TOOL) staticcheck ./...)
	@.ci/imports

words: ## find words that are ruled out in what users read; fails if there are any
	@go run ./test/words

cover: ## measure the root package's coverage; fails under MIN_COVERAGE (95) percent
	@go test -coverprofile=coverage.out .
	@go tool cover -func=coverage.out | awk -v min=$(MIN_COVERAGE) '/^total:/ { got = $$3 + 0 } \
		END { printf "coverage: %.1f %%, at least %s %% wanted\n", got, min; exit got < min }'

fuzz: ## run every fuzz target of every module for FUZZTIME (1m)
	@.ci/fuzz $(FUZZTIME) $(MODULES)

bench: ## measure dispatch beside the loop written by hand
	@cd test/bench && go run .

hedge: ## show what hedging does to latencies with a heavy tail, and redraw its chart
	@go test ./test/hedge -count=1 -run TestWhatHedgingDoes -update -v

chart: ## measure what the chart in README shows, and draw it
	@cd test/bench && go run . -only quick,sleep,select,http -chart ../../docs/performance.svg

scale: ## show what very many calls, producers and listeners take, and how costs grow
	@cd test/scale && go run .
	@go test ./internal/course -run '^$$' -bench Event -benchtime 20x

house: ## show how much code, how many locks and how large a cycle of files there are
	@go run ./test/house

soak: ## run a random mix of everything for MINUTES (1) and check the books
	@cd test/soak && go run . -for $(MINUTES)m

mutants: ## delete the guards one by one; each time a test has to fail
	@./test/mutants/run

shake: ## run tests with pauses at locks and new goroutines, COUNT times (2)
	@COUNT=$(COUNT) ./test/shake/run

stranger: ## get, build and install every released module from outside the repository
	@.ci/stranger $(RELEASED)

release: ## write VERSION (v0.1.0) into the modules and the change log, and commit that
	@.ci/release '$(VERSION)' $(RELEASED)
