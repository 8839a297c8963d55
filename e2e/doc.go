// Package e2e drives the real programs from outside, as their users do: the server on both engines, agents, a private
// nginx, openssl. It knows nothing of their inside but the test clock, and holds every answer against
// the API document; what reads certificates, CRLs and OCSP here are packages of ours that others hold to account.
package e2e
