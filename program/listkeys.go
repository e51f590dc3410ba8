package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"retrieverkeys/apikey"
	"retrieverkeys/web"
)

func (c *command) listKeys(ctx context.Context) error {
	search, err := c.search()
	if err != nil {
		return err
	}
	return c.inNamespace(ctx, func(ctx context.Context, w workspace) error {
		out := c.listing("key", "KEY ID", "PREFIX", "STATUS", "NAME", "RETRIEVER", "CREATED", "CREATED BY", "LAST USED", "EXPIRES")
		add := func(k *apikey.Key, r *apikey.Retriever) error {
			return out.add(web.Key{Of: k}, func() []string {
				return []string{
					string(k.ID), orEmpty(k.Prefix), strings.ToUpper(string(k.Status)), k.Name, r.Name, dated(k.CreatedAt), orEmpty(k.CreatedBy),
					cmp.Or(dated(k.LastUsedAt), "never"), cmp.Or(dated(k.ExpiresAt), "never"),
				}
			})
		}
		if c.cfg.Keys.Retriever != "" {
			r, err := w.service.Retriever(ctx, w.caller, string(w.namespace.ID), c.cfg.Keys.Retriever)
			if err != nil {
				return err
			}
			err = keysOf(ctx, w, r, c.cfg.Keys.IncludeRevoked, search, add)
			if err != nil {
				return err
			}
		} else if err := keysOfNamespace(ctx, w, c.cfg.Keys.IncludeRevoked || search != "", search, add); err != nil { // a search finds revoked keys too
			return err
		}
		if out.n == 0 && !c.cfg.JSON && apikey.HideKeys(search) != search {
			_, _ = fmt.Fprintln(c.stderr, "This searched the keys of retrievers in one namespace. To search all keys, pass\nthe key on standard input to: retrieverkeys keys scan -")
		}
		return out.end()
	})
}

// search returns the text to search for. If --search is "-", it reads the text from standard input.
func (c *command) search() (string, error) {
	if c.cfg.Keys.Search != "-" {
		return c.cfg.Keys.Search, nil
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

// keysOf calls f for each key of a retriever that matches the search. It stops at the first error.
func keysOf(ctx context.Context, w workspace, r *apikey.Retriever, includeRevoked bool, search string, f func(*apikey.Key, *apikey.Retriever) error) error {
	reader, err := w.service.ReadKeys(w.caller, r, apikey.ListOptions{IncludeRevoked: includeRevoked, Filter: apikey.Filter{Search: search}})
	if err != nil {
		return err
	}
	for {
		page, err := reader.Next(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			if err := f(&page[i], r); err != nil {
				return err
			}
		}
	}
}

// keysOfNamespace calls f for each key of the namespace's retrievers that matches the search, once per key. It stops at the first error.
func keysOfNamespace(ctx context.Context, w workspace, includeRevoked bool, search string, f func(*apikey.Key, *apikey.Retriever) error) error {
	seen := map[apikey.ID]bool{} // keys of several retrievers; others are read only once
	return eachRetriever(ctx, w, func(r *apikey.Retriever) error {
		return keysOf(ctx, w, r, includeRevoked, search, func(k *apikey.Key, r *apikey.Retriever) error {
			if len(k.Retrievers()) > 1 {
				if seen[k.ID] {
					return nil
				}
				seen[apikey.ID(strings.Clone(string(k.ID)))] = true
			}
			return f(k, r)
		})
	})
}
