# devid-agent: everything a person or a machine runs here. `make help` lists it.
SHELL       := /bin/bash
GO          ?= go
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.release=$(VERSION)
AGENT       := ./cmd/agent
NEED        := .ci/need
# HTTP is spoken over a local socket only, so the HTTP/2 of net/http stays out of the binary (330 KB on arm64).
TAGS        := nethttpomithttp2
# Inlining makes the binary 7 % larger; it is left to where the time goes. Four packages of arithmetic: a TLS handshake with
# P-256 then takes 0.73 ms, as with inlining everywhere in crypto/internal, and 0.92 without any. And the runtime: a message
# sent then takes a quarter less of the processor, as with inlining everywhere.
GCFLAGS     := -gcflags=all=-l -gcflags=runtime= -gcflags=internal/runtime/atomic= -gcflags=internal/runtime/sys= -gcflags=internal/runtime/math= -gcflags=crypto/internal/fips140/mlkem= -gcflags=crypto/internal/fips140/bigmod= -gcflags=crypto/internal/fips140/edwards25519/field= -gcflags=crypto/internal/fips140/subtle=
# 8 MB, as ls -lh counts (MiB). It was 8,000,000 bytes on arm64 until readings could come from other programs and sensors,
# and the cloud could ask. The arithmetic of P-384 and P-521 in 32-bit code is 200 KB larger, so armv7 has 8.25 MiB.
GATE_arm64  := 8388608
GATE_armv7  := 8650752

# The tags that leave a part of the agent out.
EVERY_PART  := noest,noezca,nohsm,noattest,noingest,nofield,noremote

export CGO_ENABLED ?= 0
export GOTOOLCHAIN ?= local

.DEFAULT_GOAL := help
.PHONY: help demo test race race-rooms race-agent fuzz bench-keys lint build arm dist parts print-artefacts reproducible deb deb-test yocto-check gateway gateway-full footprint bench clean FORCE need-demo need-test need-cgo need-cross need-deb need-gateway need-bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 14

demo: need-demo ## the main job, on a real TPM implementation and the simulated cloud, in under 3 minutes
	@$(GO) build -tags $(TAGS) -o bin/ $(AGENT) ./examples/demo && mv bin/agent bin/devid-agent
	@bin/demo -agent bin/devid-agent

test: need-test lint ## everything that must always pass
	$(GO) test -timeout 30m ./...
	$(GO) test -tags $(EVERY_PART) -run TestWhatThisBuild ./cmd/agent
	cd test/est && $(GO) test ./...
	cd test/otlp && $(GO) test ./...
	cd third_party/yaml && $(GO) test ./...

race: need-test ## the tests where goroutines meet, with the race detector
	@$(MAKE) --no-print-directory -j2 race-rooms race-agent
race-rooms:
	CGO_ENABLED=1 $(GO) test -timeout 30m -race ./fault ./keys/... ./identity ./telemetry/... ./remote ./internal/... ./provisioning/... ./renew ./sim ./station ./tpm/... ./hsm/... ./attest
race-agent:
	CGO_ENABLED=1 $(GO) test -timeout 30m -race -skip 'Matrix|Mosquitto' ./cmd/agent

FUZZTIME ?= 1m
fuzz: need-test ## every parser of what comes from outside, a minute each (FUZZTIME)
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; grep -rHoE '^func Fuzz\w+' --include=*_test.go . | sed -E 's,^\./(.*)/[^/]+:func (.*),\1 \2,' | while read -r room name; do \
	  echo "$$room $$name"; (cd $$room && $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) . >"$$said" 2>&1) || { cat "$$said"; exit 1; }; \
	  tail -n 3 "$$said" | head -n 1; done

bench-keys: need-test ## signatures by TPM and token against the bare hardware, as ratios in one run
	$(GO) test -run '^$$' -bench . ./tpm
	CGO_ENABLED=1 $(GO) test -run '^$$' -bench . ./hsm/module

lint: need-cgo ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) vet ./hsm/module ./cmd/pkcs11
	$(GO) tool staticcheck ./...
	CGO_ENABLED=1 $(GO) tool staticcheck ./hsm/module ./cmd/pkcs11

build: need-cgo ## bin/devid-agent, devid-pkcs11, devid-station and devid-cloudsim for this machine
	$(GO) build -trimpath -tags $(TAGS) $(GCFLAGS) -ldflags '$(LDFLAGS)' -o bin/devid-agent $(AGENT)
	$(GO) build -trimpath -tags $(TAGS) $(GCFLAGS) -ldflags '$(LDFLAGS)' -o bin/devid-cloudsim ./cmd/cloudsim
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/devid-station ./cmd/station
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/devid-pkcs11 ./cmd/pkcs11

arm: ## static binaries of the agent for arm64 and armv7, with their sizes
	@$(MAKE) -s dist/devid-agent-arm64 dist/devid-agent-armv7
	@gate() { size=$$(stat -c %s $$1); printf '%-26s %8d bytes, of %d\n' $$1 $$size $$2; test $$size -le $$2; }; \
	  gate dist/devid-agent-arm64 $(GATE_arm64) && gate dist/devid-agent-armv7 $(GATE_armv7)

# What is released. devid-pkcs11 needs the C library of its architecture, all else is static.
AGENTS      := arm64 armv7 armv6 riscv64 amd64
ARTEFACTS   := $(AGENTS:%=dist/devid-agent-%) $(AGENTS:%=dist/devid-service-%) \
               $(foreach arch,amd64 arm64,dist/devid-station-$(arch) dist/devid-cloudsim-$(arch)) \
               $(foreach arch,amd64 arm64 armhf,dist/devid-pkcs11-$(arch))

# The agent that is released for the machine that builds: what is measured.
RELEASED     = dist/devid-agent-$(shell $(GO) env GOARCH)

dist/devid-%: FORCE
	@GO='$(GO)' TAGS='$(TAGS)' GCFLAGS='$(GCFLAGS)' LDFLAGS='$(LDFLAGS)' packaging/build.sh $@

dist: need-cross $(ARTEFACTS) ## all release binaries in dist/, with checksums, SBOMs, sizes and what each dependency costs
	@GO='$(GO)' TAGS='$(TAGS)' GCFLAGS='$(GCFLAGS)' LDFLAGS='$(LDFLAGS)' VERSION='$(VERSION)' GATE_arm64=$(GATE_arm64) packaging/dist.sh $(ARTEFACTS)

parts: ## what the agent for arm64 weighs without each of its optional parts (build tags)
	@GO='$(GO)' TAGS='$(TAGS)' GCFLAGS='$(GCFLAGS)' LDFLAGS='$(LDFLAGS)' EVERY_PART='$(EVERY_PART)' packaging/parts.sh

print-artefacts:
	@echo $(ARTEFACTS)

reproducible: need-cross ## build two clean clones of HEAD and compare every byte
	@packaging/reproducible.sh

deb: need-deb ## the Debian packages for amd64, arm64 and armhf in dist/deb/, checked by lintian
	@MAKE='$(MAKE)' packaging/deb/build.sh

deb-test: need-deb ## install, upgrade, downgrade, remove and purge the packages for real, in a chroot (root)
	@packaging/deb/test.sh

yocto-check: ## parse the Yocto layer with the bitbake and openembedded-core in DEVID_OE_DIR
	@packaging/yocto/check.sh

gateway: need-gateway ## an emulated ARM gateway with a TPM installs the package, enrolls, renews, loses power, and no reading (root)
	@GO='$(GO)' examples/gateway/run.sh

gateway-full: need-gateway ## the same, with an upgrade, a full disk, a read-only root, a clock in 1970, and its footprint (root)
	@GO='$(GO)' examples/gateway/run.sh full

bench: need-bench ## the agent beside mosquitto, paho and telegraf: goals met or missed (BENCH='-only ROW', -quick, -write)
	@$(MAKE) -s $(RELEASED) && $(GO) build -o bin/ ./examples/bench && $(GO) build -o bin/bench-paho ./examples/bench/paho
	@bin/bench -agent $(RELEASED) -paho bin/bench-paho $(BENCH)

footprint: need-demo ## what the agent costs: memory, processor, wake-ups, disk, start; beside others, with gates
	@$(MAKE) -s $(RELEASED) && $(GO) build -o bin/ ./examples/footprint
	@bin/footprint -agent $(RELEASED) -board dist/gateway/numbers.json

clean: ## remove what was built
	rm -rf bin dist

need-demo:
	@$(NEED) swtpm:swtpm
need-test: need-cgo
	@$(NEED) swtpm:swtpm swtpm_setup:swtpm-tools certtool:gnutls-bin tpm2_getcap:tpm2-tools openssl:openssl mosquitto:mosquitto mosquitto_pub:mosquitto-clients \
	  curl:curl mkfs.ext4:e2fsprogs /usr/lib/*/ossl-modules/tpm2.so:tpm2-openssl softhsm2-util:softhsm2 pkcs11-tool:opensc tpm2_ptool:libtpm2-pkcs11-tools \
	  /usr/lib/*/pkcs11/libtpm2_pkcs11.so:libtpm2-pkcs11-1 tpm2-abrmd:tpm2-abrmd /usr/lib/*/libtss2-tcti-tabrmd.so.0:libtss2-tcti-tabrmd0 \
	  dbus-run-session:dbus-daemon /usr/sbin/pcscd:pcscd /usr/lib/pcsc/drivers/serial/libifdvpcd.so:vsmartcard-vpcd \
	  /usr/lib/*/opensc-pkcs11.so:opensc-pkcs11 tinyproxy:tinyproxy-bin mosquitto_passwd:mosquitto ssh:openssh-client /usr/sbin/sshd:openssh-server \
	  systemd-analyze:systemd kas:kas dpkg-deb:dpkg python3:python3 node:nodejs /usr/lib/python3/dist-packages/paho:python3-paho-mqtt
need-cgo:
	@$(NEED) gcc:gcc /usr/include/stdlib.h:libc6-dev
need-cross: need-cgo
	@$(NEED) aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdlib.h:libc6-dev-arm64-cross \
	  arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf /usr/arm-linux-gnueabihf/include/stdlib.h:libc6-dev-armhf-cross xz:xz-utils
need-deb: need-cross
	@$(NEED) dpkg-buildpackage:dpkg-dev dh:debhelper lintian:lintian systemd-analyze:systemd
need-bench: need-demo
	@$(NEED) mosquitto:mosquitto mosquitto_pub:mosquitto-clients mkfs.ext4:e2fsprogs losetup:mount
need-gateway: need-cgo
	@$(NEED) aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdlib.h:libc6-dev-arm64-cross dpkg-buildpackage:dpkg-dev dh:debhelper \
	  qemu-system-aarch64:qemu-system-arm swtpm:swtpm mke2fs:e2fsprogs depmod:kmod cpio:cpio systemd-sysusers:systemd
