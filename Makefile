# What people type. `make` alone prints the targets.
#
# Options pass through as ARGS; no target passes an option of its own that ARGS may
# carry, except where its name is that option:
#   make test-scenario ARGS="--msg_loss 10 --rand_seed 7"

CARGO   ?= cargo
ARGS    ?=
LOG_DIR ?= logs/run
SEED    ?= 1
SEEDS   ?= 1000
CASES   ?= 10000000

GROUP     ?= paxos
SHARD     ?= 0/8

SCHEDULES ?= 10000
SECONDS   ?= 600
LOSS      ?= 20
FROM      ?= 0

FILE   ?=
SCRIPT ?=

NS           ?= 1 16 64 256
DURABILITIES ?= none sync
ABSENT       ?= 1000000
LINES        ?= 1000000
PLOT         ?= docs/bench.svg

PROGRAMS := replica client driver simulate bench
BIN := $(or $(CARGO_TARGET_DIR),target)/release
DEV := $(or $(CARGO_TARGET_DIR),target)/debug

SCENARIOS := single-client-single-req single-client-multiple-req \
             multiple-client-single-req multiple-client-multiple-req \
             proposer-0-fail-before-proposal proposer-0-and-1-fail-before-proposal \
             proposer-0-fail-after-proposal stress-test-0
SCENARIO_TARGETS := $(addprefix test-scenario-,$(SCENARIOS))

LARGEST_MODEL := one_slot_four_ballots_and_a_death

.PHONY: help build run play check fmt-check clippy doc-check test update-scripts \
        test-scenario compare simulate \
        power-cuts model-check model-check-hour mutants fuzz schedules chaos \
        bench bench-floor bench-absence bench-restart bench-plot clean \
        $(SCENARIO_TARGETS)

help: ## print this
	@echo 'Targets (options pass through: make test-scenario ARGS="--msg_loss 10"):'
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r name what; do printf '  %-18s%s\n' "$$name" "$$what"; done
	@echo '  test-scenario-<name>, one of the eight:'
	@for name in $(SCENARIOS); do echo "    test-scenario-$$name"; done

build: ## build all programs, optimised
	$(CARGO) build --release --locked $(addprefix --bin ,$(PROGRAMS))

run: build ## start three replicas and a client here: type lines; ARGS go to the client
	@scripts/run.sh '$(BIN)' '$(LOG_DIR)' $(ARGS)

play: ## move a small cluster step by step, at a prompt (FILE=script: print what a script does)
	$(CARGO) build --locked -p stage --bin play
	@$(DEV)/play $(ARGS) $(FILE)

check: fmt-check clippy doc-check test ## what CI runs: format, lints, documentation, tests

fmt-check:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --locked --all-targets -- -D warnings

doc-check:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --locked --no-deps

test: ## run the tests (some start real clusters)
	$(CARGO) test --workspace --locked

update-scripts: ## write the golden scripts again, on purpose only (SCRIPT=word: only some)
	$(CARGO) build --locked -p stage --bin play
	@$(DEV)/play --update $$(find tests/scripts -mindepth 2 -type f -path '*$(SCRIPT)*' | sort)

test-scenario: build ## run all eight scenarios and compare the chat logs
	$(BIN)/driver $(ARGS)

$(SCENARIO_TARGETS): test-scenario-%: build
	$(BIN)/driver --test_type $* $(ARGS)

simulate: build ## simulate clusters on virtual time: SEED=1 SEEDS=1000 (SEEDS= for one)
	$(BIN)/simulate --seed $(SEED) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

model-check: ## go through every state of small clusters; prints how many (BUG=Name: one planted bug)
	$(CARGO) test --locked --test model_check -- --include-ignored --nocapture --test-threads 1 --skip $(LARGEST_MODEL)

model-check-hour: ## one more, of 837,095,811 states: about an hour on two cores, and 11 GiB
	MODEL_THREADS=$$(nproc) \
		$(CARGO) test --locked --test model_check -- --ignored --nocapture --exact $(LARGEST_MODEL)

fuzz: ## inputs that nobody makes, drawn from SEED=1: CASES=10000000 datagrams, and as long at all else
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(CARGO) test --release --locked --test fuzz -- --nocapture --test-threads 1

power-cuts: build ## cut the power at every call of every disk of a simulated cluster: SEED=1 SEEDS=1000
	$(BIN)/simulate --power_cuts --seed $(SEED) --seeds $(SEEDS) $(ARGS)

schedules: ## try the threads under many schedules: SCHEDULES=10000 a trial, from seed FROM=0 on
	SCHEDULES=$(SCHEDULES) SCHEDULES_FROM=$(FROM) \
		$(CARGO) test --locked -p multipaxos --lib schedules -- --nocapture

chaos: ## real replicas killed again and again: SECONDS=600, LOSS=20 of a hundred datagrams
	CHAOS_SECONDS=$(SECONDS) CHAOS_LOSS=$(LOSS) $(CARGO) test --locked --test processes \
		-- --exact restart::a_minority_that_is_killed_again_and_again_loses_nothing --nocapture

mutants: ## mutation testing with cargo-mutants, one part of a group: GROUP=paxos SHARD=0/8 (docs/mutation.md)
	@scripts/mutants.sh '$(GROUP)' '$(SHARD)' $(ARGS)

bench: build ## measure: ops/s and latency over N and durabilities (NS="1 64" DURABILITIES=sync)
	@scripts/bench.sh '$(BIN)/bench' '$(NS)' '$(DURABILITIES)' $(ARGS)

bench-floor: ## the same without the protocol: what the architecture can reach here (ARGS=--duties: with what each line must have)
	$(CARGO) build --release --locked -p bench --example floor
	@scripts/bench.sh '$(BIN)/examples/floor' '$(NS)' '$(DURABILITIES)' $(ARGS)

bench-absence: build ## a replica is away for ABSENT=1000000 lines: memory, disk, catch-up
	$(BIN)/bench --absent $(ABSENT) $(ARGS)

bench-restart: build ## time from kill -9 of all to the first line, after 1 % and all of LINES=1000000
	$(BIN)/bench --restart --lines $(LINES) $(ARGS)

bench-plot: build ## draw latency against throughput into PLOT=docs/bench.svg (two minutes)
	$(BIN)/bench --plot '$(PLOT)' $(ARGS)

compare: build ## compare the chat logs in LOG_DIR (default logs/run)
	$(BIN)/driver --compare '$(LOG_DIR)' $(ARGS)

clean: ## remove what the build made; logs stay
	$(CARGO) clean
