// Package job is the engine behind the table of jobs: it leases due jobs to workers of this process, renews the leases
// while they work, tries again what failed, rescues what a vanished worker left, computes a root from its children and
// keeps the schedules of periodic work.
//
// A job changes only through the functions of this package, inside a transaction of the store, so that its new state,
// the effect of the work and the state of the job above it are one. Every lease has an epoch of its own, and what a
// worker writes after it lost the lease is refused with [ErrLost]: a job may be begun twice, its effect comes once.
//
// Agents are workers of the same jobs: the server leases a job for one with [LeaseFor] and settles it with the
// engine's Complete, Fail, Snooze or Await when the agent reports.
package job
