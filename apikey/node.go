package apikey

import (
	"slices"
)

// Node is the object with an id. At most one field is set.
type Node struct {
	Key       *Key
	Retriever *Retriever
	Namespace *Namespace
}

// Node returns the object with that id. It looks among keys, then the request's namespace's retrievers, then the organization's
// namespaces. If the request names no namespace, it looks among everything that the caller sees in the organization.
func (f *Found) Node(id string) (Node, error) {
	if f.request == "" {
		if n := f.nodeAnywhere(id); n != (Node{}) {
			return n, nil
		}
		return Node{}, notFound("node")
	}
	ns, err := f.resolve(f.request)
	if err != nil {
		return Node{}, err
	}
	if k := f.keyHere(ID(id)); k != nil {
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

// Nodes returns the objects with these ids, in the same order, whatever namespace the request names: what the caller sees in the
// organization. It returns an empty Node for an id of nothing that the caller sees.
func (f *Found) Nodes(ids []string) ([]Node, error) {
	if err := checkNodes(ids); err != nil {
		return nil, err
	}
	nodes := make([]Node, len(ids))
	for i, id := range ids {
		nodes[i] = f.nodeAnywhere(id)
	}
	return nodes, nil
}

func (f *Found) nodeAnywhere(id string) Node {
	for _, kind := range []ResourceType{ResourceAPIKey, ResourceRetriever, ResourceNamespace} {
		if n := f.Entity(kind, id); n != (Node{}) {
			return n
		}
	}
	return Node{}
}

// Entity returns the object of that kind with that id, whatever namespace the request names. It returns an empty Node if the caller sees
// no such object in the organization.
func (f *Found) Entity(kind ResourceType, id string) Node {
	switch kind {
	case ResourceAPIKey:
		return Node{Key: f.keyAnywhere(f.keys[ID(id)])}
	case ResourceRetriever:
		return Node{Retriever: f.seen[RetrieverID(id)]}
	case ResourceNamespace:
		return Node{Namespace: f.namespaceByID(id)}
	default:
		return Node{}
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
