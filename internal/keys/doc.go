// Package keys keeps secrets: the master key and what is sealed by it, private keys by reference, and tokens.
package keys
