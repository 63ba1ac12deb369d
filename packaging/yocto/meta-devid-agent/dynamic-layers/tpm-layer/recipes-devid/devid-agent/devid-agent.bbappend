# tpm2-tss of that layer makes the group tss, and gives it the TPM after our own udev rule.
PACKAGECONFIG:append = " tss"
