package apikey

import (
	"slices"
)

// Node is the object with an id. Exactly one field is set.
type Node struct {
	Key       *Key
	Retriever *Retriever
	Namespace *Namespace
}

// Node returns the object with that id. It looks among keys, then the request's namespace's retrievers, then the organization's
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
	// The request's namespace may not exist for a caller who cannot see it. Without one there is no answer.
	if f.caller.coversNamespace(ReadData, ns) {
		if n := f.namespaceByID(id); n != nil {
			return Node{Namespace: n}, nil
		}
	}
	return Node{}, f.caller.nothingIn(ns, "node")
}

// Entity returns the object of that kind with that id. Keys and retrievers are looked up in the request's namespace. It returns an empty
// Node if the caller sees no such object.
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

// namespaceByID returns the namespace with that id, or nil if the caller sees none.
func (f *Found) namespaceByID(id string) *Namespace {
	i := slices.IndexFunc(f.namespaces, func(n Namespace) bool { return string(n.ID) == id })
	if i < 0 || !f.caller.coversNamespace(ReadData, &f.namespaces[i]) {
		return nil
	}
	return &f.namespaces[i]
}
