SUMMARY = "Development image of a gateway with devid-agent"
DESCRIPTION = "A read-only root file system with systemd, and the state of the agent on a partition that survives updates. \
Root has no password: never ship this image."
LICENSE = "MIT"

inherit core-image features_check devid-no-keys

REQUIRED_DISTRO_FEATURES = "systemd"

IMAGE_FEATURES += "read-only-rootfs ssh-server-dropbear empty-root-password allow-empty-password allow-root-login"
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-devid ${CORE_IMAGE_EXTRA_INSTALL}"

WKS_FILE ?= "devid-ab.wks.in"
DEVID_BOOT_PLUGIN = "${@'bootimg-efi' if 'scarthgap' in d.getVar('LAYERSERIES_CORENAMES').split() else 'bootimg_efi'}"

# The data partition has its label from the partition table. Without one the system boots, and the agent does not start.
ROOTFS_POSTPROCESS_COMMAND += "devid_data_partition"
devid_data_partition() {
	install -d ${IMAGE_ROOTFS}/data
	echo 'LABEL=data /data ext4 noatime,nosuid,nodev,commit=30,nofail 0 2' >> ${IMAGE_ROOTFS}${sysconfdir}/fstab
}
