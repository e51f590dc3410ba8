package apikey

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Names is what a request names, to be looked up together. Each kind is read once, however many are named.
type Names struct {
	// Namespace is the request's namespace, by id or name, in which Keys and Nodes are looked up. If it is empty, they are looked up in the
	// whole organization, as what follows them is in any case.
	Namespace  string
	Namespaces []string // by id or name
	Retrievers []RetrieverRef
	Keys       []ID
	Nodes      []string // ids of any kind

	KeysAnywhere []ID
	NodeLists    [][]string // ids of any kind, as Found.Nodes accepts them
	HashLists    [][]string // of keys, as Found.KeysWithHashes accepts them

	KeyFields Fields // the fields of keys that are needed
	Listings  []ListingOf
}

// RetrieverRef names a retriever in a namespace, by id or name. The id takes precedence.
type RetrieverRef struct {
	Anywhere  bool       // by id, in any namespace of the organization
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
		if ref.In == nil && !ref.Anywhere {
			refs = append(refs, ref.Namespace)
		}
	}
	if len(n.Keys) > 0 || len(n.Nodes) > 0 {
		refs = append(refs, n.Namespace)
	}
	return distinct(slices.Concat(refs, n.Nodes, n.nodesAnywhere()))
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
	return distinct(slices.Concat(idsOf(n.retrieverRefs()), as[RetrieverID](n.Nodes), as[RetrieverID](n.nodesAnywhere())))
}

func (n *Names) keyIDs() []ID {
	return distinct(slices.Concat(n.Keys, as[ID](n.Nodes), n.keysAnywhere()))
}

// nodesAnywhere are the ids of any kind that are looked up in the whole organization.
func (n *Names) nodesAnywhere() []string {
	var ids []string
	if n.Namespace == "" {
		ids = slices.Clone(n.Nodes)
	}
	for _, list := range n.NodeLists {
		if checkNodes(list) == nil {
			ids = append(ids, list...)
		}
	}
	return distinct(ids)
}

// keysAnywhere are the ids of keys that are looked up in the whole organization.
func (n *Names) keysAnywhere() []ID {
	ids := slices.Concat(n.KeysAnywhere, as[ID](n.nodesAnywhere()))
	if n.Namespace == "" {
		ids = append(ids, n.Keys...)
	}
	return distinct(ids)
}

// retrieversAnywhere are the ids of retrievers that are looked up in the whole organization.
func (n *Names) retrieversAnywhere() []RetrieverID {
	ids := as[RetrieverID](n.nodesAnywhere())
	for _, ref := range n.retrieverRefs() {
		if ref.Anywhere {
			ids = append(ids, RetrieverID(ref.Retriever))
		}
	}
	return distinct(ids)
}

// hashes are the hashes of keys that are looked up, in lower case.
func (n *Names) hashes() []string {
	var all []string
	for _, list := range n.HashLists {
		if hashes, err := readHashes(list); err == nil {
			all = append(all, hashes...)
		}
	}
	return distinct(all)
}

const (
	// MaxNodes is how many ids Found.Nodes accepts.
	MaxNodes  = 100
	maxHashes = 500
)

func checkNodes(ids []string) error {
	if len(ids) > MaxNodes {
		return Invalid("ids", "ids must have at most %d ids, not %d.", MaxNodes, len(ids))
	}
	return nil
}

// readHashes returns the hashes in lower case, as they are stored.
func readHashes(hashes []string) ([]string, error) {
	if len(hashes) > maxHashes {
		return nil, Invalid("hashes", "hashes must have at most %d hashes, not %d.", maxHashes, len(hashes))
	}
	lower := make([]string, len(hashes))
	for i, hash := range hashes {
		if !isHash(hash) {
			return nil, Invalid("hashes", "hashes[%d] must be the SHA-256 of a key, in %d hexadecimal digits.", i, hashDigits)
		}
		lower[i] = strings.ToLower(hash)
	}
	return lower, nil
}

// hashDigits is the length of a hash.
const hashDigits = 2 * sha256.Size

// isHash reports whether the text is a hash, in upper or lower case.
func isHash(text string) bool {
	sum, err := hex.DecodeString(text)
	return err == nil && len(sum) == sha256.Size
}

// idsOf are the possible ids of retrievers in named namespaces.
func idsOf(refs []RetrieverRef) []RetrieverID {
	var ids []RetrieverID
	for _, ref := range refs {
		if ref.Anywhere || ref.In != nil || ref.Namespace != "" {
			ids = append(ids, RetrieverID(ref.Retriever))
		}
	}
	return distinct(ids)
}

func as[To, From ~string](items []From) []To {
	out := make([]To, len(items))
	for i, item := range items {
		out[i] = To(item)
	}
	return out
}

// distinct returns each item once, without empty ones.
func distinct[T cmp.Ordered](items []T) []T {
	var empty T
	slices.Sort(items)
	items = slices.Compact(items)
	return slices.DeleteFunc(items, func(item T) bool { return item == empty })
}
