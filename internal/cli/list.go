package cli

import (
	"fmt"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// limited is the flag of every list.
type limited struct {
	Limit int `default:"100" placeholder:"N" help:"Rows at most; 0 for all (${default})."`
}

// rows is what a list answers in JSON: the shape of the API, without pages.
type rows[T any] struct {
	Data        []T   `json:"data"`
	Total       int64 `json:"total"`
	TotalCapped bool  `json:"total_capped,omitempty"`
}

// collect reads pages until there are limit rows (0: all).
func collect[T any](limit int, fetch func(api.Listing) (api.Page[T], error)) (rows[T], error) {
	if limit < 0 {
		return rows[T]{}, failed(codeUsage, "use 0 for all rows", "--limit is negative")
	}
	all := rows[T]{Data: []T{}}
	for at := (api.Listing{PerPage: perPage(limit)}); ; {
		page, err := fetch(at)
		if err != nil {
			return all, err
		}
		all.Data = append(all.Data, page.Data...)
		all.Total, all.TotalCapped = page.Total, page.TotalCapped
		if limit > 0 && len(all.Data) >= limit {
			all.Data = all.Data[:limit]
			return all, nil
		}
		if page.NextCursor == "" {
			return all, nil
		}
		at.Cursor = page.NextCursor
	}
}

func perPage(limit int) int {
	if limit == 0 {
		return leafward.MaxPerPage
	}
	return min(limit, leafward.MaxPerPage)
}

// paging is the listing for operations that cannot search.
func paging(l api.Listing) api.Paging {
	return api.Paging{Page: l.Page, PerPage: l.PerPage, Cursor: l.Cursor, Sort: l.Sort}
}

// tell says how many rows there are when not all were shown. Scripts hear it too: a list cut in silence misleads them.
func tell[T any](r *run, noun string, all rows[T]) {
	if int64(len(all.Data)) >= all.Total && !all.TotalCapped {
		return
	}
	more := ""
	if all.TotalCapped {
		more = " and more"
	}
	fmt.Fprintf(r.Err, "! %d of %s%s shown; --limit 0 shows all\n", len(all.Data), count(all.Total, noun), more)
}

// find resolves what the user calls a thing: its name first, which is what commands show, then its id.
func find[T any](r *run, given, noun, help string, named func() (api.Page[T], error), byID func() (T, error), id func(T) string) (string, error) {
	if given == "" {
		return "", nil
	}
	page, err := named()
	if err != nil {
		return "", err
	}
	switch len(page.Data) {
	case 0:
	case 1:
		found := id(page.Data[0])
		r.called[found] = given
		return found, nil
	default:
		return "", failed(string(leafward.Conflict), fmt.Sprintf("use an id, such as %s; --json lists show them", id(page.Data[0])), "there are %d %ss named %q", len(page.Data), noun, given)
	}
	thing, err := byID()
	if code := explainCode(err); code == string(leafward.NotFound) || code == string(leafward.Invalid) {
		return "", failed(string(leafward.NotFound), help, "there is no %s named %q", noun, given)
	}
	if err != nil {
		return "", err
	}
	return id(thing), nil
}

func explainCode(err error) string {
	if err == nil {
		return ""
	}
	return explain(err).Code
}
