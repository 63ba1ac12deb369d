# An image that inherits this class is not made when there is anything of one device in it: a private key, a machine-id.
# DEVID_KEYS_ALLOWED is an extended regular expression of paths that may hold a key, such as those of test suites.
DEVID_KEYS_ALLOWED ?= ""

ROOTFS_POSTPROCESS_COMMAND:append = " devid_no_keys"
do_rootfs[file-checksums] += "${DEVID_LAYERDIR}/scripts/no-keys.sh:True"

devid_no_keys() {
	DEVID_KEYS_ALLOWED='${DEVID_KEYS_ALLOWED}' sh ${DEVID_LAYERDIR}/scripts/no-keys.sh ${IMAGE_ROOTFS} ||
		bbfatal "the image has something of one device in it"
}
