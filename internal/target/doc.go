// Package target is the contract of everything a certificate can be deployed to, and what all such targets share: the
// rules of the host they run on, commands without a shell, and the swap of files that a crash cannot tear.
//
// # Swapping files
//
// Files.Swap replaces several files as one change. It writes a journal and fsyncs it, writes the new contents and a
// copy of the old ones beside the files, renames all new contents over the old in adjacent system calls, runs the
// configuration test, reloads, and lets the caller prove the result. When a step fails, everything is put back, tested
// and reloaded again. After a kill or power loss at any moment Files.Recover finishes the change if the test had
// passed, and otherwise puts back what was there.
//
// # What remains
//
// No file system renames two files in one step. Between the two renames (microseconds) the certificate on disk is not
// the one of the key, and a crash exactly there leaves that state until Recover has run. A server that loads both in
// that moment because of another hand's reload finds a pair that does not match. nginx, haproxy and Apache check the
// pair when they load it, refuse it and go on with what they had, so the worst is one failed reload by that other
// hand, or a service that does not start between a crash and the next start of the agent; a wrong pair is not served.
//
// The files are renamed in the order of Change.Files. Name the certificate first and the key second: servers read them
// in that order, and then a reader meets a mismatch only if its own two reads fall apart differently than the two
// renames, rather than whenever they overlap. Where a server takes certificate and key from one file (nginx does, if
// cert_path and key_path are equal), use that: a single rename leaves no mixed state on disk.
//
// Owner, group and mode of a replaced file are kept; access control lists and extended attributes are those of a new
// file in its directory. A directory in which strangers may create links must not be handed over with --allow-path:
// links are resolved before the change, not during it. One process at a time may use a journal directory.
package target
