// Package lifecycle requests, issues, renews and revokes certificates.
//
// [Orders] is the side of the jobs: how an order becomes a version, and what a finished root means for its certificate.
// [Service] is the side of the callers: every road to a certificate goes through it. What must be installed where is
// written down here as installations and deployment jobs; package deploy sees to it.
package lifecycle
