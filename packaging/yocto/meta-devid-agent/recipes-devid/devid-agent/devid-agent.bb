SUMMARY = "Device identity in hardware, Azure IoT enrollment, telemetry"
DESCRIPTION = "A long-running agent for gateways: it makes a private key that cannot leave the TPM 2.0 or the PKCS#11 token \
of the machine, enrolls the device at the Azure Device Provisioning Service or at another authority, streams telemetry to \
Azure IoT Hub over MQTT with mutual TLS, and renews the certificate before it expires."

DEVID_PROGRAM = "agent"
require devid.inc

# As the Makefile builds it: static, and small. Pure Go needs no address of its own for each run, and 32-bit ARM could
# not have one without C.
CGO_ENABLED = "0"
GO_LINUXLOADER = ""
GOBUILDFLAGS:append = " -tags nethttpomithttp2 -gcflags=all=-l -gcflags=runtime= -gcflags=internal/runtime/atomic= -gcflags=internal/runtime/sys= -gcflags=internal/runtime/math= -gcflags=crypto/internal/fips140/mlkem= -gcflags=crypto/internal/fips140/bigmod= -gcflags=crypto/internal/fips140/edwards25519/field= -gcflags=crypto/internal/fips140/subtle="
GOBUILDFLAGS:remove = "-buildmode=pie"

inherit systemd update-rc.d useradd bash-completion ${@bb.utils.contains('PACKAGECONFIG', 'overlayfs', 'overlayfs', '', d)}

PACKAGECONFIG ??= ""
PACKAGECONFIG[pkcs11] = ",,,devid-pkcs11"
# The state on an overlay of the partition OVERLAYFS_MOUNT_POINT[data].
PACKAGECONFIG[overlayfs] = ""
# Where tpm2-tss gives the TPM to the group tss.
PACKAGECONFIG[tss] = ",,tpm2-tss,tpm2-tss"

RRECOMMENDS:${PN} += "ca-certificates"

# The number owns the keys' files on a partition that survives updates, so it is the same in each image. Below 1000, since
# the journal takes a higher one for a person; far below 999, from where useradd counts down for others.
DEVID_UID ??= "713"
DEVID_GID ??= "713"
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system --gid ${DEVID_GID} devid-agent"
USERADD_PARAM:${PN} = "--system --uid ${DEVID_UID} --gid devid-agent --no-create-home \
    --home-dir ${localstatedir}/lib/devid-agent --shell ${base_sbindir}/nologin \
    ${@bb.utils.contains('PACKAGECONFIG', 'tss', '--groups tss', '', d)} devid-agent"

# DEVID_STATE_DIR is where identity, key blobs and readings lie. On another partition, as /data/devid-agent, it is mounted
# over the directory that the agent knows; without systemd, the agent is told of it.
DEVID_STATE = "${localstatedir}/lib/devid-agent"
DEVID_STATE_DIR ??= "${DEVID_STATE}"
OVERLAYFS_WRITABLE_PATHS[data] = "${DEVID_STATE}"

SYSTEMD_SERVICE:${PN} = "devid-agent.service"
INITSCRIPT_NAME = "devid-agent"
INITSCRIPT_PARAMS = "defaults 95 05"

SRC_URI += "file://state.mount.in"

do_install() {
	boot=${DEVID_SOURCE}/packaging/boot
	install -D -m 0755 ${B}/devid-agent ${D}${bindir}/devid-agent
	install -d ${D}${sysconfdir}/devid-agent
	sh ${DEVID_SOURCE}/packaging/inert.sh < ${DEVID_SOURCE}/examples/agent.yaml > ${D}${sysconfdir}/devid-agent/agent.yaml
	install -d -m 0700 -o devid-agent -g devid-agent ${D}${DEVID_STATE}
	install -D -m 0644 $boot/devid-agent.udev ${D}${nonarch_base_libdir}/udev/rules.d/59-devid-agent.rules
	install -D -m 0644 ${DEVID_SOURCE}/packaging/completion/devid-agent.bash ${D}${datadir}/bash-completion/completions/devid-agent
	if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
		devid_install_systemd
	else
		devid_install_sysvinit
	fi
}

devid_install_systemd() {
	install -D -m 0644 $boot/devid-agent.service ${D}${systemd_system_unitdir}/devid-agent.service
	install -D -m 0755 $boot/devid-agent-tpm-generator ${D}${systemd_unitdir}/system-generators/devid-agent-tpm-generator
	install -D -m 0644 $boot/devid-agent.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/devid-agent.conf
	# With our numbers, for systems whose /etc starts empty.
	install -d ${D}${nonarch_libdir}/sysusers.d
	sed 's/^u devid-agent -/g devid-agent ${DEVID_GID} -\nu devid-agent ${DEVID_UID}:devid-agent/' $boot/devid-agent.sysusers > ${D}${nonarch_libdir}/sysusers.d/devid-agent.conf
	if [ ${DEVID_STATE_DIR} != ${DEVID_STATE} ]; then
		# The name is the escaped mount point (systemd.mount(5)); RequiresMountsFor= of the service finds it.
		sed 's,@STATE_DIR@,${DEVID_STATE_DIR},' ${UNPACK_ROOT}/state.mount.in > '${D}${systemd_system_unitdir}/var-lib-devid\x2dagent.mount'
	fi
}

devid_install_sysvinit() {
	install -d ${D}${sysconfdir}/init.d
	# "Put here by devid-agent service install" would let that command take the file for its own.
	sed -e '/by `devid-agent service install`/d' -e 's,/var/lib/devid-agent,${DEVID_STATE_DIR},g' $boot/sysv.sh > ${D}${sysconfdir}/init.d/devid-agent
	chmod 0755 ${D}${sysconfdir}/init.d/devid-agent
	if [ ${DEVID_STATE_DIR} != ${DEVID_STATE} ]; then
		sed -i 's,^  #state: .*,  state: ${DEVID_STATE_DIR},' ${D}${sysconfdir}/devid-agent/agent.yaml
	fi
}

# Where scarthgap, and where later releases, put what was fetched.
UNPACK_ROOT = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

CONFFILES:${PN} = "${sysconfdir}/devid-agent/agent.yaml"
FILES:${PN} += "\
    ${nonarch_base_libdir}/udev/rules.d \
    ${nonarch_libdir}/tmpfiles.d ${nonarch_libdir}/sysusers.d \
    ${systemd_unitdir}/system-generators ${systemd_system_unitdir}/*.mount \
"
