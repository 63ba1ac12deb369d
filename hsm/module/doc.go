// Package module is the inside of devid-pkcs11: one vendor's PKCS#11 library, loaded through crypto11, that answers
// what the agent asks.
//
// It is linked by cmd/pkcs11 only. What the library does to its process, it does to that one.
package module
