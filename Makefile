# SPDX-License-Identifier: Apache-2.0
#
# Everything works from a fresh clone; what has to be fetched goes into .cache/ of the checkout.

GO ?= go
export GOTOOLCHAIN ?= local

.PHONY: help build test soak bench generate clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

build: ## bin/: sallyport, sallyport-hook, sallyport-verify
	$(GO) build -trimpath -o bin/ ./cmd/...

test: ## everything that a change must pass
	$(GO) run ./internal/ci test

soak: ## the long versions: fuzzing, kill loops, repetition, the race detector everywhere
	$(GO) run ./internal/ci soak

bench: ## package benchmarks, sallyport bench policy, ledger and latency, and the ledger beside its peers
	$(GO) run ./internal/ci bench

generate: ## every generated file anew
	$(GO) run ./internal/ci generate

clean: ## remove what was built and fetched
	rm -rf bin .cache
