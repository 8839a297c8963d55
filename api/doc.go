// Package api is the REST contract: one value per operation, the types on the wire and the Go client.
//
// An [Operation] declares method, path, id, input, output, status and role once; the server's routes, the OpenAPI
// document and [Operation.Call] all come from that value. Properties of inputs are optional on the wire unless a
// rule of a noun asks for them, so that all mistakes are told at once and by name.
package api
