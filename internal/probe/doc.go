// Package probe looks at what a TLS server shows, without trusting it: the chain, the protocol, the names and dates, or
// the reason why nothing could be seen. Verification is off while looking, so that an expired or unknown certificate is
// a finding and not a failure; Result.VerifiedBy checks the chain afterwards against roots of the caller's choice.
//
// Everything is bounded: a look has a deadline and reads at most 1 MiB, a host at most 16 addresses.
package probe
