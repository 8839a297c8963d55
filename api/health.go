package api

import "github.com/leafward/leafward"

// Status is a word about a state.
type Status struct {
	Status string `json:"status"`
}

// AuthInfo says how callers prove who they are.
type AuthInfo struct {
	AuthType string `json:"auth_type" enum:"api-key,none" doc:"What a request is authenticated by"`
	Required bool   `json:"required" doc:"Operations ask for it"`
}

// AuthCheck says whom the caller's key belongs to.
type AuthCheck struct {
	Status string `json:"status"`
	User   string `json:"user" doc:"Name of the caller"`
	Role   string `json:"role" doc:"Role of the caller"`
	Admin  bool   `json:"admin" doc:"The role is admin"`
}

// Version is what the server was built from.
type Version struct {
	Version   string `json:"version" doc:"Version, or the commit, or dev"`
	Commit    string `json:"commit" doc:"Commit; empty when the build did not know it"`
	Modified  bool   `json:"modified" doc:"The sources differed from the commit"`
	BuildTime string `json:"build_time" doc:"Time of the commit or the build; empty when the build did not know it"`
	GoVersion string `json:"go_version" doc:"Version of Go"`
}

// Nothing is the input of an operation that takes none.
type Nothing struct{}

// The operations on the server itself.
var (
	GetHealth   = public[Status]("/health", "getHealth", "Tell whether the process lives")
	GetReady    = public[Status]("/ready", "getReady", "Tell whether everything works; 503 says what does not")
	GetAuthInfo = public[AuthInfo]("/api/v1/auth/info", "getAuthInfo", "Tell how to authenticate")
	GetVersion  = public[Version]("/api/v1/version", "getVersion", "Tell what is running")
	CheckAuth   = Operation[Nothing, AuthCheck]{Info{Method: "GET", Path: "/api/v1/auth/check", ID: "checkAuth", Tag: "Health", Summary: "Check an API key", Status: 200, Role: leafward.RoleAny}}
)

func public[Out any](path, id, summary string) Operation[Nothing, Out] {
	return Operation[Nothing, Out]{Info{Method: "GET", Path: path, ID: id, Tag: "Health", Summary: summary, Status: 200, Role: leafward.RolePublic}}
}

func healthOperations() []Info {
	return []Info{GetHealth.Info, GetReady.Info, GetAuthInfo.Info, CheckAuth.Info, GetVersion.Info}
}
