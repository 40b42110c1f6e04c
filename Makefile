# make run     builds, serves with nothing beside it, and prints where
# make test    everything that must hold before a change is merged
# make help    the rest

SHELL := /bin/bash
CARGO_TARGET_DIR ?= target
CACHE := $(if $(STATECAST_CACHE),$(STATECAST_CACHE),.cache)
BIN := $(abspath $(CARGO_TARGET_DIR))/release/statecast
SERVICES := scripts/services
STEP := @scripts/step

# One profile for the binary, its tests, its lints and its benchmarks: librdkafka and OpenSSL are compiled once, in two
# minutes, and the build scripts' output is shared by all of them.
CARGO_FLAGS := --release --locked

# A deny found on the PATH is used; otherwise this version is built once into the cache.
CARGO_DENY := $(shell command -v cargo-deny || echo $(CACHE)/tools/bin/cargo-deny)
CARGO_DENY_VERSION := 0.20.2

# The pages, where there are any yet.
WEB := $(if $(wildcard web/package.json),web/dist/index.html)
WEB_SOURCES := $(shell [ -d web ] && find web \( -name node_modules -o -name dist \) -prune -o -type f -print)

# What tests drive from outside, the stock Socket.IO client and a browser's remote control; and the data they replay.
CLIENTS := $(patsubst %/package.json,%/node_modules/.package-lock.json,$(wildcard tests/*/package.json loadtest/*/package.json))

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: fuzz help run build test test-format test-deny test-services test-web test-lint test-rust test-browser \
        build-tests build-seeded replay bench faults oracle services-up services-down

help:
	@echo 'make run              build and serve on the embedded log and store, and print where'
	@echo 'make run KAFKA=host:9092 MONGODB=mongodb://... [REDIS=redis://...]    on these services'
	@echo 'make build            $(BIN)'
	@echo 'make test             format, dependencies, lints, pages, and all tests on real Kafka, MongoDB, Redis, Chromium'
	@echo 'make test-rust ARGS=  cargo test with these services; ARGS is passed on, as in ARGS="kafka:: -- --nocapture"'
	@echo '     test-format test-deny test-lint test-web test-services test-browser: each step alone'
	@echo 'make replay           send a public data set to what make run serves, as if it happened now (ARGS=--help)'
	@echo 'make bench            the table of figures (ONLY=name for one row)'
	@echo 'make faults           every fault with its proof (ONLY=F14 SEED=7 replays one)'
	@echo 'make oracle           whether what judges the faults sees bugs that are put in (ONLY=drop-when-full)'
	@echo 'make fuzz TARGET=record   look for input that breaks it: record, position, query, payload (SECONDS=600)'
	@echo 'make services-up      leave Kafka, MongoDB and Redis running: eval "$$(scripts/services env)"'
	@echo 'make services-down    end them and remove their data'

# --- run and build -----------------------------------------------------------------------------------------------

# Exported rather than put on the command line, so that no shell reads what is in a URI.
ifdef KAFKA
run: export STATECAST_LOG__KIND := kafka
run: export STATECAST_KAFKA__BROKERS := $(value KAFKA)
endif
ifdef MONGODB
run: export STATECAST_STORE__KIND := mongodb
run: export STATECAST_MONGODB__URI := $(value MONGODB)
endif
ifdef REDIS
run: export STATECAST_REDIS__URL := $(value REDIS)
endif

run: build
	@exec $(BIN) serve $(ARGS)

build: $(WEB)
	cargo build $(CARGO_FLAGS) --bin statecast

# npm writes this file last, so it is the proof of a whole install.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund
	@touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	cd web && npm run build
	@touch $@

# --- test --------------------------------------------------------------------------------------------------------

# What fails fast comes first; the pages come before the lints because the binary embeds them.
test: test-format test-deny test-services test-web test-lint test-rust test-browser
	@printf '\n== everything passed\n'

test-format:
	$(STEP) 'format' cargo fmt --all --check

test-deny: $(CARGO_DENY)
	$(STEP) 'dependencies: bans, licences, sources' $(CARGO_DENY) --locked check bans licenses sources

$(CACHE)/tools/bin/cargo-deny:
	$(STEP) 'cargo-deny, once' cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --quiet \
	  --root $(CACHE)/tools --target-dir $(CACHE)/tools/build
	@rm -rf $(CACHE)/tools/build

test-services:
	$(STEP) 'the services script' scripts/test-services

test-web: $(if $(WEB),web/node_modules/.package-lock.json)
ifneq ($(WEB),)
	$(STEP) 'pages: unit tests' npm --prefix web test
	$(STEP) 'pages: build' $(MAKE) --no-print-directory $(WEB)
endif

test-lint: $(WEB)
	$(STEP) 'lints' cargo clippy $(CARGO_FLAGS) --all-targets --all-features -- -D warnings

# All targets in one command, and the binary with them. Built alone it would come without the features that tests add to
# tokio and hyper, and half of the tree would be compiled a second time; what ships (`make build`) is that one.
build-tests: $(WEB) $(CLIENTS)
	$(STEP) 'build' cargo build $(CARGO_FLAGS) --all-targets

test-rust: build-tests
	$(STEP) 'tests on real services' $(SERVICES) run kafka mongodb redis chromium --keep-logs $(CACHE)/logs -- \
	  cargo test $(CARGO_FLAGS) $(ARGS)

test-browser: build-tests
ifneq ($(wildcard tests/browser/page.mjs),)
	$(STEP) 'pages in Chromium' env STATECAST_BIN=$(BIN) $(SERVICES) run kafka mongodb chromium --keep-logs $(CACHE)/logs -- \
	  node tests/browser/page.mjs
endif

# --- data to look at ---------------------------------------------------------------------------------------------

# The data are fetched from the package registry and are no part of this.
replay: loadtest/replay/node_modules/.package-lock.json
	$(STEP) 'build' cargo build $(CARGO_FLAGS) --example replay
	@exec $(dir $(BIN))examples/replay $(ARGS)

# --- figures and faults ------------------------------------------------------------------------------------------

# A broker that is to be measured may compile its code as far as it can.
bench: export STATECAST_KAFKA_JVM ?= -XX:TieredStopAtLevel=4
bench faults oracle: export STATECAST_BIN := $(BIN)
bench faults oracle: export ONLY := $(ONLY)
bench faults oracle: export SEED := $(SEED)

bench: build-tests
	$(SERVICES) run kafka mongodb -- $(dir $(BIN))examples/bench

# What `src/engine/seeded.rs` has, in a binary of its own.
build-seeded: build-tests
	$(STEP) 'build with bugs in it' cargo build $(CARGO_FLAGS) --features seeded-bugs --example seeded

oracle: build-seeded
	$(SERVICES) run kafka mongodb --keep-logs $(CACHE)/logs -- \
	  cargo test $(CARGO_FLAGS) --lib -- --ignored --exact --nocapture tests::faults::bugs::every_seeded_bug_is_found_for_what_it_is

# A case whose name ends in -3 is about three brokers.
faults: build-seeded
	$(SERVICES) run kafka mongodb --brokers $(if $(filter %-3,$(ONLY)),3,1) --keep-logs $(CACHE)/logs -- \
	  cargo test $(CARGO_FLAGS) --lib -- --ignored --exact --nocapture tests::faults::every_fault_is_survived
ifeq ($(ONLY),)
	$(MAKE) --no-print-directory faults ONLY=F5-3
	$(MAKE) --no-print-directory faults ONLY=F10-3
endif

# Needs a nightly compiler and `cargo install cargo-fuzz`. No sanitizer: what is ours has no unsafe line.
SECONDS ?= 600
fuzz:
	cargo +nightly fuzz run -s none $(TARGET) -- -max_total_time=$(SECONDS) -max_len=4096

services-up:
	@$(SERVICES) up kafka mongodb redis

services-down:
	@$(SERVICES) down
