# The project's commands. `make` alone prints them.
#
# ARGS go to the program that a target runs. A target passes no option that ARGS could also
# give, unless the target's name says that option:
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

PREFIX ?= /usr/local

PROGRAMS := replica client driver simulate bench trace
BIN := $(or $(CARGO_TARGET_DIR),target)/release
DEV := $(or $(CARGO_TARGET_DIR),target)/debug

SCENARIOS := single-client-single-req single-client-multiple-req \
             multiple-client-single-req multiple-client-multiple-req \
             proposer-0-fail-before-proposal proposer-0-and-1-fail-before-proposal \
             proposer-0-fail-after-proposal stress-test-0
SCENARIO_TARGETS := $(addprefix test-scenario-,$(SCENARIOS))

LARGEST_MODEL := one_slot_four_ballots_and_a_death

.PHONY: help build run run-fresh play report break quick check fmt-check clippy doc-check test update-scripts \
        test-scenario test-hosts test-floods compare simulate \
        power-cuts model-check model-check-hour spec spec-quick mutants fuzz schedules chaos \
        bugs bugs-sample update-bugs \
        bench bench-floor bench-absence bench-restart bench-plot measure install clean \
        $(SCENARIO_TARGETS)

help: ## print this
	@echo 'Targets (ARGS go to the program: make test-scenario ARGS="--msg_loss 10"):'
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r name what; do printf '  %-18s%s\n' "$$name" "$$what"; done
	@echo '  test-scenario-<name>, one of the eight:'
	@for name in $(SCENARIOS); do echo "    test-scenario-$$name"; done

build: ## build all programs, optimised
	$(CARGO) build --release --locked $(addprefix --bin ,$(PROGRAMS))

run: build ## start three replicas and a client here, and type lines; the chat in LOG_DIR=logs/run goes on
	@scripts/run.sh '$(BIN)' '$(LOG_DIR)' $(ARGS)

run-fresh: build ## the same with a new chat; the old one moves to logs/run.1, .2, ...
	@scripts/run.sh --fresh '$(BIN)' '$(LOG_DIR)' $(ARGS)

play: ## move a small cluster step by step, at a prompt (FILE=script: run a script instead)
	$(CARGO) build --locked -p stage --bin play
	@$(DEV)/play $(ARGS) $(FILE)

break: ## plant a mistake and tell the shortest execution that it breaks: BUG=name (alone: the list)
	@scripts/break.sh $(BUG)

quick: fmt-check ## under a minute once everything is built: format, lints of the core, its unit tests, scripts, documents
	$(CARGO) clippy --locked -p multipaxos --lib --bins -- -D warnings
	$(CARGO) test --locked -q -p multipaxos --lib -- paxos:: chat:: message:: values:: types:: quorum::
	$(CARGO) test --locked -q -p multipaxos --test roles --test spec --test papers
	$(CARGO) test --locked -q -p stage --test scripts

check: fmt-check clippy doc-check test bugs-sample ## what CI runs: format, lints, documentation, tests, some planted bugs

fmt-check:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --locked --all-targets -- -D warnings

doc-check:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --locked --no-deps

test: ## run the tests (some start real clusters); their output is in target/test.log
	@CARGO='$(CARGO)' scripts/test.sh $(ARGS)

report: ## draw a script (FILE=script) or a run of the simulator (SEED=7) as a page: logs/report.html
ifdef FILE
	$(CARGO) build --locked -p stage --bin play
	@$(DEV)/play --report logs/report.html $(FILE)
else
	$(CARGO) build --release --locked -p simulator
	@$(BIN)/simulate --seed $(or $(SEED),1) --report logs/report.html $(ARGS)
endif

update-scripts: ## write the golden scripts anew, on purpose only (SCRIPT=word: those with it in their path)
	$(CARGO) build --locked -p stage --bin play
	@$(DEV)/play --update $$(find tests/scripts -mindepth 2 -type f -path '*$(SCRIPT)*' | sort)

test-scenario: build ## run all eight scenarios and compare the chat logs
	$(BIN)/driver $(ARGS)

$(SCENARIO_TARGETS): test-scenario-%: build
	$(BIN)/driver --test_type $* $(ARGS)

simulate: build ## simulate clusters on virtual time: SEEDS=1000 runs from SEED=1 on (SEEDS= for one run)
	$(BIN)/simulate --seed $(SEED) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

test-hosts: ## run real clusters in bad networks, as root: four minutes (ARGS="--times 3 mtu": such rows)
	$(CARGO) build --release --locked --bin replica --bin client
	$(CARGO) build --locked -p hosts
	@$(DEV)/hosts --bin '$(BIN)' --log_dir '$(or $(CARGO_TARGET_DIR),target)/hosts' $(ARGS)

test-floods: build ## flood real clusters, four minutes, and compare them with some that are let alone (ARGS="--secs 2 random")
	$(CARGO) build --release --locked -p bench --example floods
	$(BIN)/examples/floods --bin '$(BIN)' $(ARGS)
	$(BIN)/examples/floods --bin '$(BIN)' --flooders 2 $(ARGS)

model-check: ## check every state that a small cluster can reach, and count them
	$(CARGO) test --locked --test model_check -- --include-ignored --nocapture --test-threads 1 --skip $(LARGEST_MODEL)

model-check-hour: ## check a larger cluster, 837,095,811 states: an hour on two cores, 11 GiB
	MODEL_THREADS=$$(nproc) \
		$(CARGO) test --locked --test model_check -- --ignored --nocapture --exact $(LARGEST_MODEL)

fuzz: ## feed random input drawn from SEED=1: CASES=10000000 datagrams, and as much other input
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(CARGO) test --release --locked --test fuzz -- --nocapture --test-threads 1

power-cuts: build ## cut the power at every call of every disk of simulated clusters: SEED=1 SEEDS=1000
	$(BIN)/simulate --power_cuts --seed $(SEED) --seeds $(SEEDS) $(ARGS)

schedules: ## run the threads in many orders: SCHEDULES=10000 for each test, from seed FROM=0 on
	SCHEDULES=$(SCHEDULES) SCHEDULES_FROM=$(FROM) \
		$(CARGO) test --locked -p multipaxos --lib schedules -- --nocapture

chaos: ## kill real replicas again and again for SECONDS=600, with LOSS=20 percent of datagrams lost
	CHAOS_SECONDS=$(SECONDS) CHAOS_LOSS=$(LOSS) $(CARGO) test --locked --test processes \
		-- --exact restart::a_minority_that_is_killed_again_and_again_loses_nothing --nocapture

bugs: ## plant each bug of bugs/ in a copy, and see that it is caught (BUG=name, ALL_CATCHERS=1)
	@scripts/bugs.sh $(BUG)

bugs-sample: ## as many of them as fit into two minutes, others each time
	@scripts/bugs.sh --sample

update-bugs: ## write the tables of docs/bugs.md again
	UPDATE_BUGS=1 $(CARGO) test --locked --test bugs -- the_document_lists

spec: ## check the TLA+ specification of spec/ with TLC, which comes from PyPI: every state, every planted bug
	@scripts/spec.sh $(ARGS)

spec-quick: ## the same for a minute
	@scripts/spec.sh --quick

mutants: ## change the code in one place at a time, and see whether a test fails (docs/mutation.md)
	@scripts/mutants.sh '$(GROUP)' '$(SHARD)' $(ARGS)

bench: build ## measure lines a second and latency: NS="1 16 64 256" sessions, DURABILITIES="none sync"
	@scripts/bench.sh '$(BIN)/bench' '$(NS)' '$(DURABILITIES)' $(ARGS)

bench-floor: ## measure the same threads, datagrams and files without the protocol (ARGS=--duties: with checks)
	$(CARGO) build --release --locked -p bench --example floor
	@scripts/bench.sh '$(BIN)/examples/floor' '$(NS)' '$(DURABILITIES)' $(ARGS)

bench-absence: build ## measure a replica that misses ABSENT=1000000 lines and catches up
	$(BIN)/bench --absent $(ABSENT) $(ARGS)

bench-restart: build ## measure how soon killed replicas serve again, after 1 % and all of LINES=1000000
	$(BIN)/bench --restart --lines $(LINES) $(ARGS)

bench-plot: build ## draw latency over throughput into PLOT=docs/bench.svg (two minutes)
	$(BIN)/bench --plot '$(PLOT)' $(ARGS)

measure: build ## measure docs/measurements.md anew, as root, 28 minutes; QUICK=1: only its form; PEERS=file.json
	$(CARGO) build --release --locked -p bench --examples
	$(CARGO) build --locked -p hosts
	$(BIN)/examples/measure --bin '$(BIN)' --hosts '$(DEV)/hosts' $(if $(QUICK),--quick) $(if $(PEERS),--peers '$(PEERS)') $(ARGS)

compare: build ## compare the chat logs in LOG_DIR=logs/run
	$(BIN)/driver --compare '$(LOG_DIR)' $(ARGS)

install: build ## install programs, manual pages and completions under PREFIX=/usr/local
	@scripts/install.sh '$(BIN)' '$(PREFIX)' $(PROGRAMS)

clean: ## remove the build; logs stay
	$(CARGO) clean
