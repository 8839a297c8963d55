package api

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/leafward/leafward"
)

// AuditEvent is one fact of the audit log.
type AuditEvent struct {
	ID           string         `json:"id"`
	Sequence     int64          `json:"sequence,omitempty" doc:"Place in the log, from 1 without gaps; absent for the moment until it has one"`
	Timestamp    time.Time      `json:"timestamp"`
	Actor        string         `json:"actor" doc:"Id of who did it"`
	ActorName    string         `json:"actor_name"`
	ActorType    string         `json:"actor_type" enum:"User,System,Agent"`
	Action       string         `json:"action"`
	ResourceType string         `json:"resource_type"`
	ResourceID   string         `json:"resource_id"`
	TeamID       string         `json:"team_id" doc:"Team it belongs to; empty when it concerns all"`
	RequestID    string         `json:"request_id" doc:"X-Request-ID of the call that did it; empty for the server's own work"`
	Details      map[string]any `json:"details"`
	LeafHash     string         `json:"leaf_hash" doc:"RFC 6962 leaf hash of the event, hex"`
}

// AuditEventOf is the event on the wire. What is not a column stands in the payload, which the store wrote itself.
func AuditEventOf(e *leafward.Event) AuditEvent {
	var payload struct {
		ActorName string         `json:"actor_name"`
		Details   map[string]any `json:"details"`
	}
	_ = json.Unmarshal([]byte(e.Payload), &payload)
	if payload.Details == nil {
		payload.Details = map[string]any{}
	}
	return AuditEvent{
		ID: e.ID, Sequence: e.Seq, Timestamp: e.At, Actor: e.Actor, ActorName: payload.ActorName, ActorType: string(e.ActorType),
		Action: string(e.Action), ResourceType: e.ResourceType, ResourceID: e.ResourceID, TeamID: e.Team, RequestID: e.Request,
		Details: payload.Details, LeafHash: hex.EncodeToString(e.Leaf),
	}
}

// ListAuditEventsInput filters the audit log.
type ListAuditEventsInput struct {
	Paging
	Actor        string `query:"actor" maxLength:"128" doc:"Done by this principal, agent or system"`
	Action       string `query:"action" maxLength:"128" doc:"Exactly this action, such as certificate.issued"`
	ResourceType string `query:"resource_type" maxLength:"128" doc:"Of this type, such as certificate"`
	ResourceID   string `query:"resource_id" maxLength:"255" doc:"Of this resource"`
	From         string `query:"from" maxLength:"64" doc:"Not before this time (RFC 3339)"`
	To           string `query:"to" maxLength:"64" doc:"Before this time (RFC 3339)"`
}

// ExportAuditInput says where an export begins.
type ExportAuditInput struct {
	First int64 `query:"first" minimum:"1" default:"1" doc:"Sequence of the first event"`
}

// AuditCheckpoint is the newest signed statement of how long the log is and what stands in it.
type AuditCheckpoint struct {
	Checkpoint string    `json:"checkpoint" doc:"Signed note (C2SP tlog-checkpoint), empty before the first: name of the log, number of events, root of the RFC 6962 tree over their leaf hashes"`
	PublicKey  string    `json:"public_key" doc:"Key that verifies it (C2SP signed-note)"`
	Size       int64     `json:"size" doc:"Number of events it covers"`
	CreatedAt  time.Time `json:"created_at,omitzero" doc:"When it was signed; absent before the first"`
}

// ProveEventInput says which event is to be proved, and in which checkpoint.
type ProveEventInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the event"`
	Size int64  `query:"size" minimum:"0" doc:"Number of events of the checkpoint; the newest one unless given"`
}

// AuditProof says that an event stands in the log that a checkpoint was signed for.
type AuditProof struct {
	Sequence   int64    `json:"sequence" doc:"Place of the event in the log, from 1"`
	Event      string   `json:"event" doc:"The event in canonical JSON (RFC 8785); its leaf hash (RFC 6962) is of these octets"`
	Path       []string `json:"path" doc:"Hashes, hex, with which the leaf is joined from itself to the root (RFC 9162 section 2.1.3)"`
	Checkpoint string   `json:"checkpoint" doc:"Signed note (C2SP tlog-checkpoint): name of the log, number of events, root of the tree"`
}

const auditPath = "/api/v1/audit"

// The operations on the audit log.
var (
	ListAuditEvents = list[ListAuditEventsInput, AuditEvent](auditPath, "listAuditEvents", "Audit", "List what happened, the newest first")
	GetAuditEvent   = get[EventID, AuditEvent](auditPath+"/{id}", "getAuditEvent", "Audit", "Get one event")
	GetCheckpoint   = get[Nothing, AuditCheckpoint](auditPath+"/checkpoint", "getAuditCheckpoint", "Audit", "Get the newest signed checkpoint of the log, to keep somewhere else")
	ProveAuditEvent = get[ProveEventInput, AuditProof](auditPath+"/{id}/proof", "proveAuditEvent", "Audit", "Prove that an event stands in the log that a checkpoint was signed for")
	ExportAudit     = get[ExportAuditInput, Raw](auditPath+"/export", "exportAudit", "Audit", "Export the whole log as JSON lines that can be verified offline")
)

// EventID is the input of an operation on one event.
type EventID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the event"`
}

func auditOperations() []Info {
	return []Info{ListAuditEvents.Info, GetAuditEvent.Info, GetCheckpoint.Info, ProveAuditEvent.Info, ExportAudit.Info}
}
