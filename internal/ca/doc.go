// Package ca is the certificate authorities of our own: it signs certificates, publishes CRLs and answers OCSP.
//
// A certificate is prepared (built and linted as a draft), its intent stored, and only then signed, outside of every
// lock; it counts from [MarkIssued] on, which belongs into the transaction that stores it. What was reserved and never
// marked is closed as revoked. OCSP and CRLs read the table of serials and nothing else, at the moment of asking.
package ca
