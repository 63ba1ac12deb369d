SUMMARY = "PKCS#11 helper of devid-agent"
DESCRIPTION = "Loads the library of a token's maker, and signs for devid-agent. It is needed where the keys are in a \
PKCS#11 token, and only there."

DEVID_PROGRAM = "pkcs11"
require devid.inc

# dlopen needs libc, and so does this program.
CGO_ENABLED = "1"

# Libraries of other layers, none of which is needed to build.
PACKAGECONFIG ??= ""
PACKAGECONFIG[softhsm] = ",,,,softhsm"
PACKAGECONFIG[opensc] = ",,,,opensc"
PACKAGECONFIG[tpm2-pkcs11] = ",,,,tpm2-pkcs11"

do_install() {
	install -D -m 0755 ${B}/devid-pkcs11 ${D}${prefix}/libexec/devid-pkcs11
	install -d ${D}${docdir}/devid-pkcs11
	install -m 0644 ${DEVID_SOURCE}/packaging/dropins/*.conf ${D}${docdir}/devid-pkcs11/
}

# hsm looks for it there, whatever libexecdir is.
FILES:${PN} += "${prefix}/libexec/devid-pkcs11"
