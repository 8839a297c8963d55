// Package fleet knows agents and targets: who joins and leaves, what an agent has to do and may fetch, and where
// certificates can be installed.
//
// An agent of ours says so with the word leafward.AgentProtocol when it registers and with every heartbeat; whoever does
// not is an agent of another make, which learns of CSRs and deployments only and whose word Running is a lease.
package fleet
