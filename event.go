package leafward

import (
	"strings"
	"time"
)

// Action names what happened: noun.verb in the past tense.
type Action string

// Everything that is recorded. The part before the dot is the resource type.
const (
	TeamCreated Action = "team.created"
	TeamUpdated Action = "team.updated"
	TeamDeleted Action = "team.deleted"

	OwnerCreated Action = "owner.created"
	OwnerUpdated Action = "owner.updated"
	OwnerDeleted Action = "owner.deleted"

	ProfileCreated Action = "profile.created"
	ProfileUpdated Action = "profile.updated"
	ProfileDeleted Action = "profile.deleted"

	RenewalPolicyCreated Action = "renewal_policy.created"
	RenewalPolicyUpdated Action = "renewal_policy.updated"
	RenewalPolicyDeleted Action = "renewal_policy.deleted"

	IssuerCreated Action = "issuer.created"
	IssuerUpdated Action = "issuer.updated"
	IssuerDeleted Action = "issuer.deleted"

	TargetCreated Action = "target.created"
	TargetUpdated Action = "target.updated"
	TargetDeleted Action = "target.deleted"

	AgentInvited Action = "agent.invited"
	AgentJoined  Action = "agent.joined"
	AgentRetired Action = "agent.retired"

	AuthorityCreated  Action = "authority.created"
	AuthorityReissued Action = "authority.reissued"
	// AuthoritySucceeded says that another authority signs in its place, AuthorityRetiredEvent that it has nothing left to
	// answer for.
	AuthoritySucceeded    Action = "authority.succeeded"
	AuthorityRetiredEvent Action = "authority.retired"
	CRLPublished          Action = "crl.published"
	// AuthorityKeyCopied says that a sealed copy of its private key was handed out, AuthorityTakenOffline that the key is no
	// more here.
	AuthorityKeyCopied     Action = "authority.key_copied"
	AuthorityTakenOffline  Action = "authority.taken_offline"
	AuthorityBroughtOnline Action = "authority.brought_online"

	KeyCreated Action = "key.created"
	KeyRevoked Action = "key.revoked"

	CertificateRequested  Action = "certificate.requested"
	CertificateUpdated    Action = "certificate.updated"
	CertificateIssued     Action = "certificate.issued"
	CertificateImported   Action = "certificate.imported"
	CertificateRenewed    Action = "certificate.renewed"
	CertificateDeployed   Action = "certificate.deployed"
	CertificateProved     Action = "certificate.proved"
	CertificateRevoked    Action = "certificate.revoked"
	CertificateReleased   Action = "certificate.released"
	CertificateExpiring   Action = "certificate.expiring"
	CertificateExpired    Action = "certificate.expired"
	CertificateArchived   Action = "certificate.archived"
	CertificateReassigned Action = "certificate.reassigned"
	CertificateKeyHanded  Action = "certificate.key_delivered"

	// ClockJumped says that a clock moved otherwise than time passes: the resource is the server that saw it.
	ClockJumped Action = "clock.jumped"

	JobFailedEvent    Action = "job.failed"
	JobCancelledEvent Action = "job.cancelled"

	// LogRestored says that the database was put back from a backup, and how far.
	LogRestored Action = "log.restored"

	BatchStarted   Action = "batch.started"
	BatchCompleted Action = "batch.completed"
	BatchFailed    Action = "batch.failed"
)

// Resource is the noun the action happened to.
func (a Action) Resource() string {
	noun, _, _ := strings.Cut(string(a), ".")
	return noun
}

// Details are the facts of one event; secrets have no business here.
type Details map[string]any

// Event is one fact that cannot be changed: the audit log is the table of them.
// Payload is its canonical JSON (RFC 8785), Leaf the RFC 6962 hash of the payload,
// Chain the hash over the previous chain value and Leaf. Seq is 0 until the sequencer numbered it.
type Event struct {
	ID           string    `db:"id"` // UUIDv7 behind "ev-"
	Seq          int64     `db:"seq"`
	At           time.Time `db:"at"`
	Actor        string    `db:"actor"`
	ActorType    ActorType `db:"actor_type"`
	Action       Action    `db:"action"`
	ResourceType string    `db:"resource_type"`
	ResourceID   string    `db:"resource_id"`
	Team         string    `db:"team"`
	Request      string    `db:"request_id"`
	Payload      string    `db:"payload"`
	Leaf         []byte    `db:"leaf"`
	Chain        []byte    `db:"chain"`
}
