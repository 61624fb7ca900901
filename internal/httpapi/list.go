package httpapi

// List is a page of a list.
type List[T any] struct {
	Object  string  `json:"object" enum:"list"`
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// PageOf makes a page of what was found, which is one more than asked for where
// there is more.
func PageOf[T any](found []T, limit int, id func(*T) string) List[T] {
	l := List[T]{Object: "list", Data: found}
	if l.Data == nil {
		l.Data = []T{}
	}
	if len(found) > limit {
		l.Data, l.HasMore = found[:limit], true
	}
	if n := len(l.Data); n > 0 {
		first, last := id(&l.Data[0]), id(&l.Data[n-1])
		l.FirstID, l.LastID = &first, &last
	}
	return l
}
