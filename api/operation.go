package api

import (
	"net/http"

	"github.com/leafward/leafward"
)

// Info is what an operation is, without its types.
type Info struct {
	Method  string
	Path    string
	ID      string
	Tag     string
	Summary string
	Status  int           // of success
	Role    leafward.Role // the least role that may call it
	Errors  []int         // documented besides 400, 401, 403, 404, 429, 500, 503, 507
	Lax     bool          // unknown properties of the body are ignored

	Elsewhere *Media // another door serves it and its bodies are not JSON; nil: the REST door does
}

// Media are the content types of bodies that are not JSON; "" where there is none. Also is that of another form of the
// answer.
type Media struct{ Ask, Answer, Also string }

// Operation is one call of the API: In carries path, query, header and Body by tags, Out is the answer's body.
type Operation[In, Out any] struct{ Info }

// list, get, create, put and remove are the five shapes that most resources have.

func list[In, T any](path, id, tag, summary string) Operation[In, Page[T]] {
	return Operation[In, Page[T]]{Info{Method: http.MethodGet, Path: path, ID: id, Tag: tag, Summary: summary, Status: http.StatusOK, Role: leafward.RoleViewer}}
}

func get[In, Out any](path, id, tag, summary string) Operation[In, Out] {
	return Operation[In, Out]{Info{Method: http.MethodGet, Path: path, ID: id, Tag: tag, Summary: summary, Status: http.StatusOK, Role: leafward.RoleViewer}}
}

func post[In, Out any](path, id, tag, summary string, status int, role leafward.Role, errors ...int) Operation[In, Out] {
	return Operation[In, Out]{Info{Method: http.MethodPost, Path: path, ID: id, Tag: tag, Summary: summary, Status: status, Role: role, Errors: errors}}
}

func put[In, Out any](path, id, tag, summary string, role leafward.Role) Operation[In, Out] {
	return Operation[In, Out]{Info{Method: http.MethodPut, Path: path, ID: id, Tag: tag, Summary: summary, Status: http.StatusOK, Role: role, Errors: []int{http.StatusConflict, http.StatusPreconditionFailed}}}
}

func remove(path, id, tag, summary string, role leafward.Role) Operation[ByID, None] {
	return Operation[ByID, None]{Info{Method: http.MethodDelete, Path: path, ID: id, Tag: tag, Summary: summary, Status: http.StatusNoContent, Role: role, Errors: []int{http.StatusConflict, http.StatusPreconditionFailed}}}
}

// None is the answer without a body.
type None struct{}

// ByID is the input of an operation on one thing.
type ByID struct {
	ID      string `path:"id" maxLength:"128" doc:"Id of the resource"`
	IfMatch string `header:"If-Match" maxLength:"64" doc:"Only when the resource still has this ETag"`
}

// Create is the input of an operation that makes a thing.
type Create[T any] struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request answer as the first did, for 24 hours"`
	Body           T
}

// Make is Create without idempotency: the name's uniqueness keeps a repeated request from making a second one.
type Make[T any] struct{ Body T }

// Update is the input of an operation that changes a thing: what is absent stays, null clears.
type Update[T any] struct {
	ID      string `path:"id" maxLength:"128" doc:"Id of the resource"`
	IfMatch string `header:"If-Match" maxLength:"64" doc:"Only when the resource still has this ETag"`
	Body    T
}

// Listing is the part of a list's input that all lists share.
type Listing struct {
	Page    int    `query:"page" minimum:"1" default:"1" doc:"Number of the page, from 1"`
	PerPage int    `query:"per_page" minimum:"1" maximum:"500" default:"50" doc:"Rows on a page"`
	Cursor  string `query:"cursor" maxLength:"2048" doc:"next_cursor of the page before, instead of page"`
	Sort    string `query:"sort" maxLength:"64" doc:"Key to sort by, with - in front for descending"`
	Search  string `query:"q" maxLength:"128" doc:"Beginning of a name or of anything else the row is found by"`
}

// Paging is Listing for lists without search.
type Paging struct {
	Page    int    `query:"page" minimum:"1" default:"1" doc:"Number of the page, from 1"`
	PerPage int    `query:"per_page" minimum:"1" maximum:"500" default:"50" doc:"Rows on a page"`
	Cursor  string `query:"cursor" maxLength:"2048" doc:"next_cursor of the page before, instead of page"`
	Sort    string `query:"sort" maxLength:"64" doc:"Key to sort by, with - in front for descending"`
}

// Query is the paging as the store asks for it; where holds the filters, of which empty ones were not sent.
func (p Paging) Query(where map[string]string) leafward.Query {
	return Listing{Page: p.Page, PerPage: p.PerPage, Cursor: p.Cursor, Sort: p.Sort}.Query(where)
}

// Query is the listing as the store asks for it; where holds the filters, of which empty ones were not sent.
func (l Listing) Query(where map[string]string) leafward.Query {
	q := leafward.Query{Page: l.Page, PerPage: l.PerPage, Cursor: l.Cursor, Sort: l.Sort, Text: l.Search}
	for name, value := range where {
		if value != "" {
			if q.Where == nil {
				q.Where = make(map[string]string)
			}
			q.Where[name] = value
		}
	}
	return q
}

// Page is one page of a list.
type Page[T any] struct {
	Data        []T    `json:"data" nullable:"false"`
	Total       int64  `json:"total" doc:"Rows on all pages"`
	TotalCapped bool   `json:"total_capped,omitempty" doc:"There are more rows than total says"`
	Page        int    `json:"page"`
	PerPage     int    `json:"per_page"`
	NextCursor  string `json:"next_cursor,omitempty" doc:"Cursor of the following page; absent on the last"`
}

// PageOf turns a list of nouns into a page of the wire.
func PageOf[N, T any](l leafward.List[N], wire func(*N) T) Page[T] {
	p := Page[T]{Data: make([]T, len(l.Items)), Total: l.Total, TotalCapped: l.TotalCapped, Page: l.Page, PerPage: l.PerPage, NextCursor: l.Next}
	for i := range l.Items {
		p.Data[i] = wire(&l.Items[i])
	}
	return p
}

// Operations are all operations of the API, in the order of the document.
func Operations() []Info {
	var all []Info
	for _, group := range [][]Info{
		healthOperations(), serverOperations(), teamOperations(), ownerOperations(), profileOperations(), renewalPolicyOperations(), issuerOperations(), authorityOperations(),
		certificateOperations(), batchOperations(), keyOperations(), auditOperations(), pluginOperations(),
		jobOperations(), revocationOperations(),
		agentOperations(), targetOperations(),
	} {
		all = append(all, group...)
	}
	return all
}
