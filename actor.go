package leafward

import (
	"context"
	"slices"
)

// Role is a named set of operations. Every operation declares the least role that may call it.
type Role string

// The roles, from none to all. Agent stands apart: it opens an agent's own operations only.
const (
	RolePublic   Role = ""
	RoleAgent    Role = "agent"
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
	RoleAny      Role = "any"  // no role of a grant: opens to everybody who is known
	RoleJoin     Role = "join" // no role of a grant: an invitation's, which opens the registration of its one agent
)

// Roles are those a grant may name.
func Roles() []Role { return []Role{RoleViewer, RoleOperator, RoleAdmin, RoleAgent} }

// Includes tells whether holding r opens an operation that asks for want.
func (r Role) Includes(want Role) bool {
	rank := map[Role]int{RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}
	switch want {
	case RolePublic, RoleAny:
		return true
	case RoleAgent, RoleJoin:
		return r == want || r == RoleAdmin
	default:
		return rank[r] > 0 && rank[r] >= rank[want]
	}
}

// ActorType says what sort of principal acted, in the words of the audit contract.
type ActorType string

// The sorts of actors.
const (
	ActorUser   ActorType = "User"
	ActorSystem ActorType = "System"
	ActorAgent  ActorType = "Agent"
)

// Actor is who does something: it comes with the context, scopes every read and signs every event.
type Actor struct {
	ID      string // principal id; for an agent its agent id
	Name    string
	Type    ActorType
	Role    Role
	Teams   []string // nil: all teams
	Request string   // X-Request-ID of the call, "" for the server's own work
}

// System is the server acting by itself.
func System(name string) Actor {
	return Actor{ID: "system", Name: name, Type: ActorSystem, Role: RoleAdmin}
}

// Sees tells whether a row of the team is inside the actor's scope; shared rows ("") are seen by everybody.
func (a Actor) Sees(team string) bool {
	return a.Teams == nil || team == "" || slices.Contains(a.Teams, team)
}

// MayWrite tells whether the actor may change a row of the team; shared rows belong to actors of all teams.
func (a Actor) MayWrite(team string) bool {
	return a.Teams == nil || team != "" && slices.Contains(a.Teams, team)
}

type actorKey struct{}

// WithActor returns a context whose work is done by the actor.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom is the actor of the context; ok is false when nobody was set, and then nothing may be read or written.
func ActorFrom(ctx context.Context) (a Actor, ok bool) {
	a, ok = ctx.Value(actorKey{}).(Actor)
	return a, ok
}

type requestKey struct{}

// WithRequest returns a context that belongs to the request of the id.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID is the X-Request-ID of the request that the context belongs to, "" for the server's own work.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

type hurryKey struct{}

// WithHurry returns a context in which nobody waits for what is to come once the channel is closed: whoever waits then
// answers with what there is.
func WithHurry(ctx context.Context, hurry <-chan struct{}) context.Context {
	return context.WithValue(ctx, hurryKey{}, hurry)
}

// Hurry is closed when nobody may wait any more; it is nil, which never is, in a context without one.
func Hurry(ctx context.Context) <-chan struct{} {
	hurry, _ := ctx.Value(hurryKey{}).(<-chan struct{})
	return hurry
}
