# make help shows what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BIN := $(CURDIR)/bin
PACKAGES := postgresql bubblewrap python3 iproute2

# The store of the tests, and how many kills the crash test makes.
STORE ?= sqlite
KILLS ?= 500

.PHONY: help build demo test deps gvisor race lint fmt generate bench crash fuzz sdk clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

build: ## Build the command into bin/
	go build -o $(BIN)/stayd ./cmd/stayd

demo: ## See an agent work, be killed half-way, and go on
	go run ./cmd/stayd demo

deps: ## Install what the tests need from Debian's packages
	./scripts/deps.sh $(PACKAGES)

gvisor: ## Install gVisor's runsc with the Go toolchain, so that its tests are not skipped
	go run ./cmd/stayd doctor --install gvisor --data $(BIN)/.doctor

test: deps ## Run all tests, those of the way to files that Windows has among them; what they need is installed
	STAYD_REQUIRE_POSTGRES=1 go test -timeout 20m ./...
	go test -tags portablefs ./internal/snapshot
	go test -tags purego ./internal/memory/index/...

# What tries to escape from a sandbox, and the server in which secrets are looked
# for, are processes of their own, which the detector does not see.
race: deps ## Run all tests under the race detector, but for those of other processes alone
	STAYD_REQUIRE_POSTGRES=1 go test -race -timeout 20m -skip '^(TestEscape|TestSecretsStaySecret)' ./...

lint: $(BIN)/golangci-lint ## Check style and the law of imports
	go vet ./...
	$(BIN)/golangci-lint run ./...

$(BIN)/golangci-lint:
	GOBIN=$(BIN) go install $(GOLANGCI)

fmt: $(BIN)/golangci-lint ## Format the code
	$(BIN)/golangci-lint fmt ./...

generate: ## Rewrite golden files from what the code does now; read the diff
	go test ./internal/loop ./internal/session -update

sdk: ## Run the official JavaScript SDK, and a verifier of tokens, against a server
	./scripts/sdk-js.sh

bench: ## Measure this machine and the engine on it; STORE=postgres://... for PostgreSQL
	go run ./cmd/stayd bench $(if $(filter-out sqlite,$(STORE)),--store $(STORE))

crash: deps ## Kill a server KILLS times on each store, and check that nothing was lost or done twice
	go test ./internal/crashtest -run TestCrash -count=1 -timeout 60m -v -kills $(KILLS) -store sqlite
	STAYD_REQUIRE_POSTGRES=1 go test ./internal/crashtest -run TestCrash -count=1 -timeout 60m -v -kills $(KILLS) -store postgres

fuzz: ## Fuzz every parser of foreign input for 30 seconds each
	./scripts/fuzz.sh 30s

clean: ## Remove what was built
	rm -rf $(BIN)
