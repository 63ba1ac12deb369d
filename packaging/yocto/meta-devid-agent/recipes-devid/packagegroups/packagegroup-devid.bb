SUMMARY = "A gateway with a device identity"
DESCRIPTION = "The agent, the roots that it trusts the cloud by, and the clock that certificates are judged by."

inherit packagegroup

PACKAGES = "${PN} ${PN}-pkcs11"

SUMMARY:${PN}-pkcs11 = "A gateway whose key is in a PKCS#11 token"
RDEPENDS:${PN} = "devid-agent ca-certificates"
RDEPENDS:${PN}-pkcs11 = "${PN} devid-pkcs11"
