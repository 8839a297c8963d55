# What a developer does here, and CI: `make` lists it.
# A target with a "## " comment is in the list; one with "##: " is a part of `make test` and can be run alone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL:
.SUFFIXES:

GO      ?= go
# How many test binaries are built and run at once.
JOBS    ?= 2
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The command is built by what stands in cmd/leafward; without it there is nothing to build, generate or drive.
COMMAND := $(wildcard cmd/leafward/main.go)
# The bytes that bin/leafward stays below.
SIZE    := 40000000

# Packages with goroutines that share memory. SQLite in Go is slow under the detector: the packages above the store
# run their -short tests here, and all of them in `make unit`.
RACE          ?= agent auth audit ca deploy hook job keys lifecycle outbound probe store target
RACE_PACKAGES ?= $(foreach p,$(RACE),$(if $(wildcard internal/$(p)/*.go),./internal/$(p)/...))

# The tests that only the build with test hooks has, and their packages. All others have run as what is shipped is built.
HOOKS      := $(shell grep -rl --include='*_test.go' '^//go:build testhooks' internal api 2>/dev/null)
HOOKED     := $(sort $(patsubst %/,./%,$(dir $(HOOKS))))
HOOK_TESTS := $(if $(HOOKS),$(filter Test%,$(shell grep -ho '^func Test[A-Za-z0-9_]*' $(HOOKS))))

PLATFORMS ?= linux/amd64 linux/arm64 darwin/arm64 windows/amd64
FUZZTIME  ?= 30s

BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
CACHE   := .cache
TOOLS   := $(CACHE)/bin
CLUSTER := $(TOOLS)/cluster --
# Vet has looked already where tests run.
TEST    := $(TOOLS)/gotestsum --format pkgname -- -vet=off -p $(JOBS)

export PATH := $(PATH):/usr/sbin:/sbin
# What is built, tested and looked at is compiled once, as it is shipped: static, without the paths of a machine. Only the race
# detector wants a compilation of its own.
export CGO_ENABLED := 0
export GOFLAGS := $(filter-out -trimpath,$(GOFLAGS)) -trimpath
export GOLANGCI_LINT_CACHE := $(CURDIR)/$(CACHE)/golangci

STEPS := $(strip needs check-format house check-tidy vet lint \
	$(if $(COMMAND),generated $(if $(filter true,$(CI)),cross-check)) unit race $(if $(COMMAND),e2e))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@awk -F ':.*##: ' '/^[a-z0-9-]+:.*##: /{printf "%s%s", n++ ? " · " : "\n  parts of make test: ", $$1} END{print ""}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Build the server and run it in ./leafward-data
	bin/leafward serve --data-dir ./leafward-data

.PHONY: dev
dev: build-testhooks ## Run a server with a clock and failpoints to play with, in .cache/dev
	bin/leafward-testhooks serve --data-dir $(CACHE)/dev

.PHONY: test
test: ## Everything: install what tests need, check, unit, race, e2e (CI=true: nothing may be missing)
	@step=; trap 'code=$$?; took="$$((SECONDS / 60))m$$((SECONDS % 60))s"; \
		if [ $$code = 0 ]; then echo "make test: passed in $$took ($(STEPS))"; \
		else echo "make test: FAILED in \"make $$step\" after $$took"; fi' EXIT; \
	for step in $(STEPS); do echo "── $$step ($${SECONDS}s)"; $(MAKE) $$step; done

.PHONY: check
check: check-format house check-tidy vet lint $(if $(COMMAND),generated) ## Format, layers, lint, generated files: all that needs no running parts

.PHONY: build
build: ## Build bin/leafward: static, without cgo, below 40 MB
	$(BUILD) -o bin/leafward ./cmd/leafward
	@size=$$(wc -c <bin/leafward); \
		if [ $$size -ge $(SIZE) ]; then echo "bin/leafward has $$size bytes; the limit is $(SIZE)"; exit 1; fi
	@if ldd bin/leafward >/dev/null 2>&1; then echo "bin/leafward is not static"; exit 1; fi

.PHONY: build-testhooks
build-testhooks: ## Build bin/leafward-testhooks: the same with a settable clock and failpoints
	$(BUILD) -tags testhooks -o bin/leafward-testhooks ./cmd/leafward

.PHONY: cross
cross: ## Build for every platform, keeping nothing
	@for p in $(PLATFORMS); do echo "$$p"; GOOS=$${p%/*} GOARCH=$${p#*/} $(BUILD) $(QUICKLY) -o /dev/null ./cmd/leafward; done

.PHONY: generate
generate: ## Make the generated files again
	@mkdir -p $(CACHE)
	$(GO) generate ./...
	$(GO) run ./cmd/leafward openapi >$(CACHE)/openapi.json
	@mv $(CACHE)/openapi.json api/openapi.json

.PHONY: format
format: $(TOOLS)/gofumpt ## Rewrite the Go files in their one form
	$(TOOLS)/gofumpt -w .

# It starts a PostgreSQL of its own, which waits for the disk at every commit; those of tests do not.
.PHONY: bench
bench: needs build ## Measure bin/leafward, each figure beside the bare limit of the same run (some: make bench BENCH='-run issue/')
	@$(GO) run ./bench $(BENCH)

.PHONY: bench-million
bench-million: needs build ## Measure lists and the like with a million certificates; wants 30 GB of disk and half an hour
	@$(GO) run ./bench -run many/ -certificates 1000000 $(BENCH)

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (30s)
	@GO=$(GO) tools/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## Remove what was built and cached here; leafward-data stays
	rm -rf bin $(CACHE)

.PHONY: needs
needs: ##: Install what tests need when it is missing and we are root
	@tools/needs

.PHONY: check-format
check-format: $(TOOLS)/gofumpt ##: Every Go file is in its one form
	@files=$$($(TOOLS)/gofumpt -l .); \
		if [ -n "$$files" ]; then echo "not formatted (make format mends it):"; echo "$$files"; exit 1; fi

.PHONY: house
house: ##: Who imports whom, lengths, comments
	@$(GO) test -count=1 .

.PHONY: check-tidy
check-tidy: ##: go.mod says what is used
	@$(GO) mod tidy -diff

.PHONY: vet
vet: ##: go vet, without and with test hooks
	@$(GO) vet ./...
	@$(GO) vet -tags testhooks ./...

.PHONY: lint
lint: $(TOOLS)/golangci-lint ##: golangci-lint
	@$(TOOLS)/golangci-lint run

# A stale file is renewed, so that it need only be committed.
.PHONY: generated
generated: ##: The generated files are those that the sources make
	@state() { find $(wildcard api internal web) '(' -name 'zz_*' -o -path api/openapi.json ')' | sort | xargs -r sha256sum; }; \
		before=$$(state); $(MAKE) -s generate; after=$$(state); \
		if ! diff <(echo "$$before") <(echo "$$after"); then echo "these generated files were stale; commit them as they are now"; exit 1; fi

# Whether it compiles shows without optimisation too, in two thirds of the time.
.PHONY: cross-check
cross-check: ##: It compiles for macOS and Windows
	@$(MAKE) cross PLATFORMS='darwin/arm64 windows/amd64' QUICKLY='-gcflags="all=-N -l"'

.PHONY: unit
unit: $(TOOLS)/gotestsum $(TOOLS)/cluster ##: The tests of every package, on SQLite and PostgreSQL
	@$(CLUSTER) $(TEST) -timeout 10m $$($(GO) list ./... | grep -vE '/e2e(/|$$)')
ifneq ($(HOOKED),)
	@$(CLUSTER) $(TEST) -timeout 10m -tags testhooks -run "^($$(echo $(HOOK_TESTS) | tr ' ' '|'))$$" $(HOOKED)
endif

.PHONY: race
race: $(TOOLS)/gotestsum $(TOOLS)/cluster ##: The race detector where memory is shared
	@if command -v gcc >/dev/null; then CGO_ENABLED=1 $(CLUSTER) $(TEST) -race -short -timeout 15m $(RACE_PACKAGES); \
		elif [ "$${CI:-}" = true ]; then echo "gcc is missing: the race detector needs it"; exit 1; \
		else echo "skipped: the race detector needs gcc"; fi

# The drills and the tests that are their short forms; `make drill-crash` and its like run the long ones. They stand in e2e
# where nothing else is said. Each renews its lines on the board as it begins and ends. Those that measure come first, while nothing
# else is likely to be begun on the machine.
DRILLS := load lists crl import sweep swap fair fleet fresh storm restart succession backup crash full stop stored away clock first dates modes rights config upgrade fuzz model
drill_crash      := TestNothingAcknowledgedIsLostWhenTheServerIsKilled
drill_full       := TestAFullDiskRefusesWritesAndNothingElse
drill_restart    := TestPostgreSQLIsRestartedUnderLoad
drill_storm      := TestRenewalsHappenOnceWhileServersDie
drill_succession := TestAnAuthorityIsSucceededUnderLoad
drill_import     := TestAnImportThatIsKilledGoesOnWhereItWas
drill_fair       := TestWhoAsksTooOftenKeepsNobodyElseAway
drill_fleet      := TestAFleetPollsAndComesBackAtOnce
drill_backup     := TestABackupIsRestoredWithoutForgettingARevocation
drill_stop       := TestAServerThatStopsFailsNoRequestUnderWay
drill_clock      := TestTheClockJumps
drill_dates      := TestDatesAreWrittenRightAtOddMoments
drill_stored     := TestWhatIsSignedAndNotStoredIsOnRecord
drill_away       := TestAnAgentThatWasAwayDeploysOnlyTheNewest
drill_config     := TestEverySettingDoesWhatItIsCalled
drill_sweep      := TestEverythingIsDueAtOnce
drill_fuzz       := TestFuzzTargetsFindNothingAndReachTheParsers
drill_modes      := TestNothingThatIsSecretMayBeReadByOthers
drill_first      := TestThreeCommandsLeadToAServedCertificate
drill_rights     := TestEveryRouteIsOpenToWhoMayAndToNobodyElse
drill_lists      := TestVeryManyCertificatesAreListed
drill_crl        := TestAVeryLongCRLIsPublishedBesideIssuance
drill_fresh      := TestARevocationIsSeenOnEveryServer
drill_model      := TestWhatHappensIsWhatTheModelSays
drill_swap       := TestAnAgentIsKilledWhileNginxIsLookedAtAndReloaded
drill_upgrade    := TestDatabasesOfThePastAreTakenOver
drill_load       := TestUnderLoadNothingFailsAndEverythingIsOnRecord
model_in         := -tags testhooks ./internal/lifecycle
BOARD := $(CURDIR)/$(CACHE)/drills
LONG  := $(CLUSTER) $(GO) test -count=1 -timeout 2h
board  = sed "s/^/    /" $(BOARD); echo; echo "$$(grep -c " holds on " $(BOARD)) of $$(wc -l <$(BOARD)) hold."
drill  = $(LONG) $(or $($(1)_in),./e2e) -run '^$(drill_$(1))$$' -drill.long -drill.board $(BOARD)

.PHONY: $(addprefix drill-,$(DRILLS))
$(addprefix drill-,$(DRILLS)): drill-%: build build-testhooks $(TOOLS)/cluster
	@$(call drill,$*) -v

.PHONY: drills
drills: build build-testhooks $(TOOLS)/cluster ## Run every drill in its long form (one: make drill-NAME) and print the scoreboard
	@trap '$(board)' EXIT; trap 'exit 130' INT TERM; failed=0; \
		$(foreach name,$(DRILLS),$(call drill,$(name)) || failed=1;) exit $$failed

.PHONY: board
board: ## Print what the last run of each drill said, as docs/reliability.md has it
	@$(board)

.PHONY: upgrade-fixture
upgrade-fixture: build-testhooks $(TOOLS)/cluster ## At a release: keep a database of this program, which later ones are to take over
	@$(CLUSTER) $(GO) test -count=1 ./e2e -run '^TestADatabaseOfThisProgramIsRecorded$$' -v \
		-upgrade.record $(CURDIR)/bin/leafward-testhooks -upgrade.commit $$(git rev-parse --short HEAD)

# The score-cards, by the tests that print them.
CARDS := TestCertificatesKeepTheirScoreCard TestCRLsKeepTheirScoreCard TestOCSPKeepsItsScoreCard TestTheAPIKeepsItsScoreCard

.PHONY: cards
cards: build build-testhooks $(TOOLS)/cluster ## Print the score-cards, with a line for every point
	@board=$$(mktemp); trap 'rm -f $$board' EXIT; failed=0; \
		for name in $(CARDS); do $(LONG) ./e2e -run "^$$name$$" -drill.long -drill.board $$board || failed=1; done; \
		cat $$board; exit $$failed

.PHONY: e2e
e2e: build build-testhooks $(TOOLS)/gotestsum $(TOOLS)/cluster ## Scripts against the real binary, nginx and PostgreSQL
	@$(CLUSTER) $(TEST) -count=1 -timeout 15m ./e2e/...

$(TOOLS)/gofumpt: tools/go.mod tools/go.sum
	@cd tools && $(GO) build -o $(CURDIR)/$@ mvdan.cc/gofumpt

$(TOOLS)/gotestsum: tools/go.mod tools/go.sum
	@cd tools && $(GO) build -o $(CURDIR)/$@ gotest.tools/gotestsum

$(TOOLS)/golangci-lint: tools/go.mod tools/go.sum
	@echo "building golangci-lint (once)"
	@cd tools && $(GO) build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: $(TOOLS)/cluster
$(TOOLS)/cluster:
	@$(GO) build -o $@ ./internal/pgtest/cmd/cluster
