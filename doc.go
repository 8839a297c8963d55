// Package leafward holds the nouns of leafward: what certificates, authorities, agents, jobs and the rest are, which
// states they have and by which rules they change. It does no I/O and imports the standard library only.
package leafward
