package apikey

import (
	"cmp"
	"slices"
)

// Names is what a request names, to be looked up together. Each kind is read once, however many are named.
type Names struct {
	// Namespace is the request's namespace, by id or name, in which Keys and Nodes are looked up.
	Namespace  string
	Namespaces []string // by id or name
	Retrievers []RetrieverRef
	Keys       []ID
	Nodes      []string // ids of any kind
	KeyFields  Fields   // the fields of Keys and Nodes that are needed
	Listings   []ListingOf
}

// RetrieverRef names a retriever in a namespace, by id or name. The id takes precedence.
type RetrieverRef struct {
	In        *Namespace // a namespace that was found before; nil: the one of Namespace
	Namespace string     // by id or name
	Retriever string
	ByID      bool // not by name
}

// ListingOf is a list of the keys of retrievers that are named too.
type ListingOf struct {
	Options    ListOptions
	Retrievers []RetrieverRef
}

func (n *Names) namespaceRefs() []string {
	refs := slices.Clone(n.Namespaces)
	for _, ref := range n.retrieverRefs() {
		if ref.In == nil {
			refs = append(refs, ref.Namespace)
		}
	}
	if len(n.Keys) > 0 || len(n.Nodes) > 0 {
		refs = append(refs, n.Namespace)
	}
	if n.Namespace != "" { // without it, nodes are not looked up
		refs = append(refs, n.Nodes...)
	}
	return distinct(refs)
}

// retrieverRefs are all retrievers that are named.
func (n *Names) retrieverRefs() []RetrieverRef {
	refs := n.Retrievers
	for _, l := range n.Listings {
		refs = slices.Concat(refs, l.Retrievers)
	}
	return refs
}

func (n *Names) retrieverIDs() []RetrieverID {
	ids := idsOf(n.retrieverRefs())
	if n.Namespace != "" {
		for _, id := range n.Nodes {
			ids = append(ids, RetrieverID(id))
		}
	}
	return distinct(ids)
}

func (n *Names) keyIDs() []ID {
	if n.Namespace == "" {
		return nil
	}
	ids := slices.Clone(n.Keys)
	for _, id := range n.Nodes {
		ids = append(ids, ID(id))
	}
	return distinct(ids)
}

// idsOf are the possible ids of retrievers in named namespaces.
func idsOf(refs []RetrieverRef) []RetrieverID {
	var ids []RetrieverID
	for _, ref := range refs {
		if ref.In != nil || ref.Namespace != "" {
			ids = append(ids, RetrieverID(ref.Retriever))
		}
	}
	return distinct(ids)
}

// distinct returns each item once, without empty ones.
func distinct[T cmp.Ordered](items []T) []T {
	var empty T
	slices.Sort(items)
	items = slices.Compact(items)
	return slices.DeleteFunc(items, func(item T) bool { return item == empty })
}
