package program

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// noted is a source that calls note with each part that is read.
type noted struct {
	document.Source
	note func(document.Part)
}

func (n noted) Read(ctx context.Context, f func(document.Part) error) error {
	return n.Source.Read(ctx, func(p document.Part) error {
		n.note(p)
		return f(p)
	})
}

// references finds documents of an import that refer to a document that is not in the store. These are not errors,
// because the next import can add what is missing.
type references struct {
	list        string // the documents that refer
	thing, kind string // what refers, and to what
	effect      string
	of          func(doc bson.Raw) (tenant apikey.InternalID, from string, to []string)
	lookUp      func(context.Context, store.Engine, apikey.InternalID, []string) (found []string, err error)
	ids         map[apikey.InternalID]map[string]bool // all ids that documents refer to
}

func newReferences() []*references {
	return []*references{
		{
			list: document.Keys, thing: "key", kind: "retriever",
			effect: "Such keys authenticate. Lists of the organization show them, but lists of the retriever and its namespace do not until you import the retriever",
			of: func(doc bson.Raw) (tenant apikey.InternalID, from string, to []string) {
				k, _ := document.Key(doc, apikey.FieldInternalID|apikey.FieldScopes)
				for _, id := range k.Retrievers() {
					if !strings.Contains(string(id), "*") { // a pattern refers to no retriever in particular
						to = append(to, string(id))
					}
				}
				return k.InternalID, string(k.ID), to
			},
			lookUp: func(ctx context.Context, engine store.Engine, tenant apikey.InternalID, ids []string) (found []string, err error) {
				asked := make([]apikey.RetrieverID, len(ids))
				for i, id := range ids {
					asked[i] = apikey.RetrieverID(id)
				}
				retrievers, err := engine.Retrievers(ctx, tenant, asked)
				for _, r := range retrievers {
					found = append(found, string(r.ID))
				}
				return found, err
			},
			ids: map[apikey.InternalID]map[string]bool{},
		},
		{
			list: document.Retrievers, thing: "retriever", kind: "namespace",
			effect: "No caller sees such retrievers until you import the namespace",
			of: func(doc bson.Raw) (tenant apikey.InternalID, from string, to []string) {
				r, _ := document.Retriever(doc)
				return r.InternalID, string(r.ID), []string{string(r.NamespaceID)}
			},
			lookUp: func(ctx context.Context, engine store.Engine, tenant apikey.InternalID, ids []string) (found []string, err error) {
				namespaces, err := engine.Namespaces(ctx, tenant, ids)
				for _, n := range namespaces {
					found = append(found, string(n.ID))
				}
				return found, err
			},
			ids: map[apikey.InternalID]map[string]bool{},
		},
	}
}

// note remembers the ids that the documents refer to.
func (r *references) note(p document.Part) {
	if p.List != r.list {
		return
	}
	for _, doc := range p.Documents {
		tenant, _, to := r.of(doc)
		for _, id := range to {
			if ids := r.ids[tenant]; ids == nil {
				r.ids[tenant] = map[string]bool{id: true}
			} else if !ids[id] {
				ids[strings.Clone(id)] = true // the id is a part of a larger text
			}
		}
	}
}

// warning returns a warning about the documents that refer to an id that is not in the store, or "" if there are none.
func (r *references) warning(ctx context.Context, engine store.Engine, from document.Source) string {
	unknown := func(err error) string {
		return fmt.Sprintf("could not check whether every %s exists: %v", r.kind, err)
	}
	if err := r.forgetStored(ctx, engine); err != nil {
		return unknown(err)
	}
	if len(r.ids) == 0 {
		return ""
	}
	const shown = 5
	var examples []string
	n := 0
	err := from.Read(ctx, func(p document.Part) error {
		if p.List != r.list {
			return nil
		}
		for _, doc := range p.Documents {
			tenant, id, to := r.of(doc)
			if i := slices.IndexFunc(to, func(id string) bool { return r.ids[tenant][id] }); i >= 0 {
				if n++; n <= shown {
					examples = append(examples, fmt.Sprintf("%s (%s)", id, to[i]))
				}
			}
		}
		return nil
	})
	if err != nil {
		return unknown(err)
	}
	list := strings.Join(examples, ", ")
	if n > shown {
		list += fmt.Sprintf(" and %d more", n-shown)
	}
	verb := "refer"
	if n == 1 {
		verb = "refers"
	}
	return fmt.Sprintf("%s %s to a %s that is not in the store: %s. %s.", counted(n, r.thing), verb, r.kind, list, r.effect)
}

// forgetStored removes the ids that the store has.
func (r *references) forgetStored(ctx context.Context, engine store.Engine) error {
	const atOnce = 1000
	for tenant, ids := range r.ids {
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(ids)), atOnce) {
			found, err := r.lookUp(ctx, engine, tenant, chunk)
			if err != nil {
				return err
			}
			for _, id := range found {
				delete(ids, id)
			}
		}
		if len(ids) == 0 {
			delete(r.ids, tenant)
		}
	}
	return nil
}
