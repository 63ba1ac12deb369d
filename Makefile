# devid-agent: everything a person or a machine runs here. `make help` lists it.
SHELL       := /bin/bash
GO          ?= go
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.release=$(VERSION)
AGENT       := ./cmd/agent
NEED        := .ci/need
# HTTP is spoken over a local socket only, so the HTTP/2 of net/http stays out of the binary (330 KB on arm64).
TAGS        := nethttpomithttp2
# Inlining makes the binary 7 % larger; it is left to where the time goes, the arithmetic of cryptography.
GCFLAGS     := -gcflags=all=-l -gcflags=crypto/internal/...=
# 8 MB on arm64; 32-bit code is a little larger, and has 8 MiB. Its pages are of 4 KB, so segments need not be rounded to 64.
GATE_arm64  := 8000000
GATE_armv7  := 8388608

export CGO_ENABLED ?= 0
export GOTOOLCHAIN ?= local

.DEFAULT_GOAL := help
.PHONY: help demo test race bench-keys lint build arm clean need-demo need-test need-cgo

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 14

demo: need-demo ## the main job, on a real TPM implementation and the simulated cloud, in under 3 minutes
	@$(GO) build -tags $(TAGS) -o bin/ $(AGENT) ./examples/demo && mv bin/agent bin/devid-agent
	@bin/demo -agent bin/devid-agent

test: need-test lint ## everything that must always pass
	$(GO) test ./...
	cd test/est && $(GO) test ./...

race: need-test ## the tests where goroutines meet, with the race detector
	CGO_ENABLED=1 $(GO) test -race ./fault ./keys/... ./identity ./telemetry/... ./internal/mqtt ./provisioning/... ./renew ./sim ./tpm/... ./hsm/... ./attest
	CGO_ENABLED=1 $(GO) test -race -skip 'Matrix|Mosquitto' ./cmd/agent

bench-keys: need-test ## signatures by TPM and token against the bare hardware, as ratios in one run
	$(GO) test -run '^$$' -bench . ./tpm
	CGO_ENABLED=1 $(GO) test -run '^$$' -bench . ./hsm/module

lint: need-cgo ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) vet ./hsm/module ./cmd/pkcs11
	$(GO) tool staticcheck ./...
	CGO_ENABLED=1 $(GO) tool staticcheck ./hsm/module ./cmd/pkcs11

build: need-cgo ## bin/devid-agent, bin/devid-pkcs11 and bin/devid-cloudsim for this machine
	$(GO) build -trimpath -tags $(TAGS) $(GCFLAGS) -ldflags '$(LDFLAGS)' -o bin/devid-agent $(AGENT)
	$(GO) build -trimpath -tags $(TAGS) $(GCFLAGS) -ldflags '$(LDFLAGS)' -o bin/devid-cloudsim ./cmd/cloudsim
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/devid-pkcs11 ./cmd/pkcs11

arm: ## static binaries of the agent for arm64 and armv7, with their sizes
	@$(MAKE) -s dist/devid-agent-arm64 dist/devid-agent-armv7
	@gate() { size=$$(stat -c %s $$1); printf '%-26s %8d bytes, of %d\n' $$1 $$size $$2; test $$size -le $$2; }; \
	  gate dist/devid-agent-arm64 $(GATE_arm64) && gate dist/devid-agent-armv7 $(GATE_armv7)

.PHONY: dist/devid-agent-arm64 dist/devid-agent-armv7
dist/devid-agent-arm64: export GOARCH = arm64
dist/devid-agent-armv7: export GOARCH = arm
dist/devid-agent-armv7: export GOARM = 7
dist/devid-agent-armv7: LDFLAGS += -R 4096
dist/devid-agent-arm64 dist/devid-agent-armv7:
	GOOS=linux $(GO) build -trimpath -tags $(TAGS) $(GCFLAGS) -ldflags '$(LDFLAGS)' -o $@ $(AGENT)

clean: ## remove what was built
	rm -rf bin dist

need-demo:
	@$(NEED) swtpm:swtpm
need-test: need-cgo
	@$(NEED) swtpm:swtpm swtpm_setup:swtpm-tools certtool:gnutls-bin tpm2_getcap:tpm2-tools openssl:openssl mosquitto:mosquitto mosquitto_pub:mosquitto-clients \
	  curl:curl mkfs.ext4:e2fsprogs /usr/lib/*/ossl-modules/tpm2.so:tpm2-openssl softhsm2-util:softhsm2 pkcs11-tool:opensc tpm2_ptool:libtpm2-pkcs11-tools \
	  /usr/lib/*/pkcs11/libtpm2_pkcs11.so:libtpm2-pkcs11-1 tpm2-abrmd:tpm2-abrmd /usr/lib/*/libtss2-tcti-tabrmd.so.0:libtss2-tcti-tabrmd0 \
	  dbus-run-session:dbus-daemon /usr/sbin/pcscd:pcscd /usr/lib/pcsc/drivers/serial/libifdvpcd.so:vsmartcard-vpcd \
	  /usr/lib/*/opensc-pkcs11.so:opensc-pkcs11
need-cgo:
	@$(NEED) gcc:gcc /usr/include/stdlib.h:libc6-dev
