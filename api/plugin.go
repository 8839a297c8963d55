package api

// Plugin is a type of issuer, target, channel or source that is built in.
type Plugin struct {
	Kind   string         `json:"kind" enum:"issuer,target,channel,source"`
	Type   string         `json:"type" doc:"What stands in the type of such a resource"`
	Title  string         `json:"title"`
	Doc    string         `json:"doc"`
	Schema map[string]any `json:"schema" doc:"JSON Schema of config"`
}

// Plugins are all plugins of a kind.
type Plugins struct {
	Data  []Plugin `json:"data" nullable:"false"`
	Total int64    `json:"total"`
}

// ListPluginsInput filters plugins.
type ListPluginsInput struct {
	Kind string `query:"kind" enum:"issuer,target,channel,source" doc:"Of this kind"`
}

// ListPlugins is the operation on plugins.
var ListPlugins = get[ListPluginsInput, Plugins]("/api/v1/plugins", "listPlugins", "Plugins", "List the types of issuers, targets, channels and sources that are built in")

func pluginOperations() []Info { return []Info{ListPlugins.Info} }
