package program

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// dangling returns a warning about keys of an imported batch whose retriever is not in the store, and one about retrievers whose
// namespace is not. These are not errors, because the next import can add what is missing.
func dangling(ctx context.Context, engine store.Engine, b document.Batch) []string {
	retrievers, namespaces := newReferences("retriever"), newReferences("namespace")
	for _, doc := range b.Keys {
		if k, ok := document.Key(doc, apikey.FieldInternalID|apikey.FieldScopes); ok {
			for _, id := range k.Retrievers() {
				if !strings.Contains(string(id), "*") { // a pattern refers to no retriever in particular
					retrievers.add(k.InternalID, string(k.ID), string(id))
				}
			}
		}
	}
	for _, doc := range b.Retrievers {
		if r, ok := document.Retriever(doc); ok {
			namespaces.add(r.InternalID, string(r.ID), string(r.NamespaceID))
		}
	}
	return slices.Concat(
		retrievers.missing("key", "Such keys authenticate, but no list shows them until you import the retriever", func(tenant apikey.InternalID, ids []string) (there []string, err error) {
			asked := make([]apikey.RetrieverID, len(ids))
			for i, id := range ids {
				asked[i] = apikey.RetrieverID(id)
			}
			found, err := engine.Retrievers(ctx, tenant, asked)
			for _, r := range found {
				there = append(there, string(r.ID))
			}
			return there, err
		}),
		namespaces.missing("retriever", "No caller sees such retrievers until you import the namespace", func(tenant apikey.InternalID, ids []string) (there []string, err error) {
			found, err := engine.Namespaces(ctx, tenant, ids)
			for _, n := range found {
				there = append(there, string(n.ID))
			}
			return there, err
		}),
	)
}

// references collects the ids that documents use to refer to documents of another kind.
type references struct {
	kind string
	from []reference
	ids  map[apikey.InternalID]map[string]bool // whether the store has it
}

type reference struct {
	tenant   apikey.InternalID
	from, to string
}

func newReferences(kind string) *references {
	return &references{kind: kind, ids: map[apikey.InternalID]map[string]bool{}}
}

func (r *references) add(tenant apikey.InternalID, from, to string) {
	r.from = append(r.from, reference{tenant, from, to})
	if r.ids[tenant] == nil {
		r.ids[tenant] = map[string]bool{}
	}
	r.ids[tenant][to] = false
}

// missing looks up all references and returns a warning about those that the store does not have.
func (r *references) missing(thing, effect string, lookUp func(apikey.InternalID, []string) ([]string, error)) []string {
	const atOnce, shown = 1000, 5
	for tenant, ids := range r.ids {
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(ids)), atOnce) {
			there, err := lookUp(tenant, chunk)
			if err != nil {
				return []string{fmt.Sprintf("could not check whether every %s exists: %v", r.kind, err)}
			}
			for _, id := range there {
				ids[id] = true
			}
		}
	}
	var examples []string
	froms := map[reference]bool{}
	for _, ref := range r.from {
		if from := (reference{tenant: ref.tenant, from: ref.from}); !r.ids[ref.tenant][ref.to] && !froms[from] {
			froms[from] = true
			if len(examples) < shown {
				examples = append(examples, fmt.Sprintf("%s (%s)", ref.from, ref.to))
			}
		}
	}
	if len(froms) == 0 {
		return nil
	}
	list := strings.Join(examples, ", ")
	if more := len(froms) - len(examples); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	verb := "refer"
	if len(froms) == 1 {
		verb = "refers"
	}
	return []string{fmt.Sprintf("%s %s to a %s that is not in the store: %s. %s.", counted(len(froms), thing), verb, r.kind, list, effect)}
}
