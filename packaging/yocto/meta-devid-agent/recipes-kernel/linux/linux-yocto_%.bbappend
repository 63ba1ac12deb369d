# For machines that say so, and nothing is changed for others.
require ${@bb.utils.contains('MACHINE_FEATURES', 'tpm2', 'recipes-kernel/linux/devid-tpm.inc', '', d)}
