// Package rest is the REST door: it binds the operations of package api to the verbs.
//
// A handler is a func(ctx, In) (Out, error) without HTTP in it. What must hold for every operation — the role, strict
// JSON, one form of errors, ETags — stands once, in the router.
package rest
