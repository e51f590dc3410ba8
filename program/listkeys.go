package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/web"
)

func (c *command) listKeys(ctx context.Context) error {
	search, err := c.search()
	if err != nil {
		return err
	}
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		places, err := c.places(ctx, engine)
		if err != nil {
			return err
		}
		columns := []string{"KEY ID", "PREFIX", "TYPE", "STATUS", "NAME", "RETRIEVERS", "CREATED", "CREATED BY", "LAST USED", "EXPIRES"}
		if len(places) > 1 {
			columns = append(columns, "ORGANIZATION")
		}
		out := c.listing("key", columns...)
		for i := range places {
			if err := c.listKeysOf(ctx, c.workspace(engine, &places[i]), search, out); err != nil {
				return err
			}
		}
		if out.n == 0 && !c.cfg.JSON && apikey.HideKeys(search) != search && (c.cfg.Namespace != "" || c.cfg.Organization != "") {
			_, _ = fmt.Fprintln(c.stderr, "This did not search the whole store. To do so, leave out --organization and\n--namespace, or pass the key on standard input to: retrieverkeys keys scan -")
		}
		return out.end()
	})
}

// places returns the namespace that --namespace names or, without it, the organizations to list.
func (c *command) places(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	if c.cfg.Namespace == "" {
		return c.organizations(ctx, engine)
	}
	ns, err := c.namespace(ctx, engine)
	if err != nil {
		return nil, err
	}
	return []apikey.Namespace{*ns}, nil
}

// listKeysOf adds the keys of a retriever, a namespace or an organization to the listing.
func (c *command) listKeysOf(ctx context.Context, w workspace, search string, out *listing) error {
	reader, err := c.reader(ctx, w, c.listOptions(search))
	if err != nil {
		return err
	}
	for {
		page, err := nextPage(ctx, reader)
		if err != nil || len(page) == 0 {
			return err
		}
		var names map[apikey.RetrieverID]string
		if !c.cfg.JSON {
			if names, err = retrieverNames(ctx, w, page); err != nil {
				return err
			}
		}
		for i := range page {
			k := &page[i]
			err := out.add(web.Key{Of: k}, func() []string {
				row := []string{
					string(k.ID), orEmpty(k.Prefix), string(k.Type), strings.ToUpper(string(k.Status)), k.Name, retrieversOf(k, names), dated(k.CreatedAt),
					orEmpty(k.CreatedBy), cmp.Or(dated(k.LastUsedAt), "never"), cmp.Or(dated(k.ExpiresAt), "never"), organization(w.namespace),
				}
				return row[:len(out.table.columns)]
			})
			if err != nil {
				return err
			}
		}
	}
}

// reader returns a reader of the keys of a retriever, a namespace or an organization.
func (c *command) reader(ctx context.Context, w workspace, o apikey.ListOptions) (*apikey.KeyReader, error) {
	switch {
	case c.cfg.Keys.Retriever != "":
		r, err := w.service.Retriever(ctx, w.caller, string(w.namespace.ID), c.cfg.Keys.Retriever)
		if err != nil {
			return nil, err
		}
		return w.service.ReadKeys(w.caller, r, o)
	case c.cfg.Namespace != "":
		return w.service.ReadNamespaceKeys(ctx, w.caller, w.namespace, o)
	default:
		return w.service.ReadOrganizationKeys(w.caller, o)
	}
}

// nextPage reads the next keys. A search for a few of many keys can read them all.
func nextPage(ctx context.Context, reader *apikey.KeyReader) ([]apikey.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	return reader.Next(ctx)
}

// listOptions returns the options of keys list. A status, a search or a finding that needs keys that are not active includes them.
func (c *command) listOptions(search string) apikey.ListOptions {
	f := &c.cfg.Keys.Filter
	return apikey.ListOptions{
		IncludeRevoked: c.cfg.Keys.IncludeRevoked || f.Statuses != nil || search != "" && c.cfg.Keys.Retriever == "" || slices.Contains(f.Findings, string(apikey.Leaked)),
		Filter: apikey.Filter{
			Status: as[apikey.Status](f.Statuses), KeyType: as[apikey.Type](f.Types), Search: search, CreatedBy: f.CreatedBy,
			CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, ExpiresAfter: f.ExpiresAfter, ExpiresBefore: f.ExpiresBefore,
			NeverExpires: &f.NeverExpires, UnusedSince: f.UnusedSince, NeverUsed: &f.NeverUsed,
			Finding: as[apikey.Finding](f.Findings),
		},
	}
}

func as[T ~string](words []string) []T {
	out := make([]T, len(words))
	for i, w := range words {
		out[i] = T(w)
	}
	return out
}

// retrieverNames returns the names of the existing retrievers that the keys name.
func retrieverNames(ctx context.Context, w workspace, keys []apikey.Key) (map[apikey.RetrieverID]string, error) {
	names := map[apikey.RetrieverID]string{}
	var ids []apikey.RetrieverID
	for i := range keys {
		for _, id := range keys[i].Retrievers() {
			if _, known := names[id]; !known {
				names[id] = string(id)
				ids = append(ids, id)
			}
		}
	}
	found, err := w.engine.Retrievers(ctx, w.caller.Key.InternalID, ids)
	for _, r := range found {
		names[r.ID] = r.Name
	}
	return names, err
}

// mostRetrievers is how many of the retrievers and namespaces that a key's scopes name a table shows.
const mostRetrievers = 3

// retrieversOf describes the retrievers that the key's scopes reach, each once. Those with the same name have their ids.
func retrieversOf(k *apikey.Key, names map[apikey.RetrieverID]string) string {
	if k.Reach() == apikey.ReachOrganization {
		return "all"
	}
	type resource struct {
		of apikey.ResourceType
		id string
	}
	label := func(r resource) string {
		if r.of == apikey.ResourceNamespace {
			return "all in " + r.id
		}
		return cmp.Or(names[apikey.RetrieverID(r.id)], r.id)
	}
	var distinct []resource
	seen, called := map[resource]bool{}, map[string]int{}
	for _, s := range k.Scopes {
		r := resource{s.ResourceType, s.ResourceID}
		if reaches := r.of == apikey.ResourceNamespace || r.of == apikey.ResourceRetriever; reaches && r.id != "" && !seen[r] {
			seen[r] = true
			called[label(r)]++
			distinct = append(distinct, r)
		}
	}
	var reached []string
	for _, r := range distinct[:min(len(distinct), mostRetrievers)] {
		text := label(r)
		if called[text] > 1 && text != r.id {
			text += " (" + r.id + ")"
		}
		reached = append(reached, text)
	}
	text := strings.Join(reached, ", ")
	if more := len(distinct) - mostRetrievers; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return cmp.Or(text, "none")
}

// search returns the text to search for. If --search is "-", it reads the text from standard input.
func (c *command) search() (string, error) {
	search := c.cfg.Keys.Filter.Search
	if search != "-" {
		return search, nil
	}
	if isTerminal(c.stdin) {
		_, _ = fmt.Fprint(c.stderr, "Search for: ")
	}
	line, err := c.line()
	if err == nil && line == "" {
		err = errors.New("--search - needs text on standard input")
	}
	return line, err
}
