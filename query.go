package leafward

// Query asks for one page of a list. Page and Cursor exclude each other; the scope of the asker is added by the store.
type Query struct {
	Page    int               // from 1; 0 means 1
	PerPage int               // 1 to MaxPerPage; 0 means DefaultPerPage
	Cursor  string            // opaque, from List.Next; bound to Sort, Text and Where
	Sort    string            // a key of the noun's list, "-" in front for descending
	Text    string            // prefix of anything the noun is found by
	Where   map[string]string // filters by name; unknown names are refused
}

// Bounds of a page.
const (
	DefaultPerPage = 50
	MaxPerPage     = 500
	TotalCap       = 10000 // totals that no fold gives are counted this far
)

// List is one page of rows and what is known of the whole.
type List[T any] struct {
	Items       []T
	Total       int64
	TotalCapped bool // there are more than Total
	Page        int
	PerPage     int
	Next        string // cursor of the following page, "" at the end
}
