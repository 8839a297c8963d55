// Package plugin reads the Config struct of an issuer, target, channel or source: its tags are the one place where a
// setting has its name, documentation, default, bounds and secrecy. Decoding, the JSON Schema of the API, the form of
// the UI and the redaction of answers all follow from them.
//
//	type Config struct {
//		URL   string          `json:"url" doc:"Where the CA listens." required:"true"`
//		Token leafward.Secret `json:"token" doc:"The API token." secret:"true"`
//		Port  int             `json:"port" doc:"The TCP port." default:"443" min:"1" max:"65535"`
//		Mode  string          `json:"mode" doc:"How to ask." enum:"push,pull" default:"push"`
//	}
//
// A property is a string, leafward.Secret, bool, int, []string or map[string]string. min and max bound the value of an
// integer, the characters of a string, and the entries of a list or map; without them a string has at most 4,096
// characters, a secret 65,536, a list or map 100 entries. Null and the empty string count as absent.
package plugin
