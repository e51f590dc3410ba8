package apikey

import (
	"slices"
)

// Node is what an id stands for: exactly one of them is set.
type Node struct {
	Key       *Key
	Retriever *Retriever
	Namespace *Namespace
}

// Node returns what has that id, looking at keys, then the request's namespace's retrievers, then the organization's
// namespaces.
func (f *Found) Node(id string) (Node, error) {
	ns, err := f.resolve(f.request)
	if err != nil {
		return Node{}, err
	}
	if k := f.key(ns, ID(id)); k != nil {
		return Node{Key: k}, nil
	}
	if r := f.byID(ns, id); r != nil {
		return Node{Retriever: r}, nil
	}
	// To a caller who does not see it the request's namespace may not exist, and without one there is no answer.
	if f.caller.coversNamespace(ReadData, ns) {
		if n := f.namespaceByID(id); n != nil {
			return Node{Namespace: n}, nil
		}
	}
	return Node{}, f.caller.nothingIn(ns, "node")
}

// Entity returns what of that kind has that id, in the request's namespace unless it is a namespace: an empty Node where
// there is nothing that the caller sees.
func (f *Found) Entity(kind ResourceType, id string) (Node, error) {
	ns, err := f.resolve(f.request)
	if err != nil {
		return Node{}, err
	}
	switch kind {
	case ResourceAPIKey:
		return Node{Key: f.key(ns, ID(id))}, nil
	case ResourceRetriever:
		return Node{Retriever: f.byID(ns, id)}, nil
	case ResourceNamespace:
		return Node{Namespace: f.namespaceByID(id)}, nil
	default:
		return Node{}, nil
	}
}

// namespaceByID returns the namespace with that id; nil where there is none that the caller sees.
func (f *Found) namespaceByID(id string) *Namespace {
	i := slices.IndexFunc(f.namespaces, func(n Namespace) bool { return string(n.ID) == id })
	if i < 0 || !f.caller.coversNamespace(ReadData, &f.namespaces[i]) {
		return nil
	}
	return &f.namespaces[i]
}
