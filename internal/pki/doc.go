// Package pki is X.509 without storage: keys, names, certification requests, serial numbers, chains, templates,
// to-be-signed certificates and revocation lists. It does no I/O besides reading random bytes.
//
// Whatever comes from outside is parsed within bounds and never panics. What is made here follows RFC 5280; what is
// made is checked by package lint before an authority signs it.
package pki
