package program

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// registry contains the namespaces of all organizations. It describes keys of any organization.
type registry struct {
	engine store.Engine
	of     map[apikey.InternalID][]apikey.Namespace // by id
}

func newRegistry(ctx context.Context, engine store.Engine) (registry, error) {
	r := registry{engine, map[apikey.InternalID][]apikey.Namespace{}}
	all, err := engine.AllNamespaces(ctx)
	slices.SortFunc(all, func(a, b apikey.Namespace) int { return cmp.Compare(a.ID, b.ID) })
	for _, n := range all {
		r.of[n.InternalID] = append(r.of[n.InternalID], n)
	}
	return r, err
}

// organization returns the name and id of the key's organization.
func (r registry) organization(k *apikey.Key) string {
	id := cmp.Or(orEmpty(k.OrganizationID), string(k.InternalID))
	for _, n := range r.of[k.InternalID] {
		if n.OrganizationName != nil {
			return fmt.Sprintf("%s (%s)", *n.OrganizationName, id)
		}
	}
	return id
}

// revocation returns the command that revokes the key. If the key's id is ambiguous, the command names a namespace of its organization or, if it
// has none, the organization.
func (r registry) revocation(k *apikey.Key, ambiguous bool) string {
	words := []string{"retrieverkeys", "keys", "revoke"}
	switch in := r.of[k.InternalID]; {
	case ambiguous && len(in) > 0:
		words = append(words, "--namespace", quoted(r.reference(&in[0])))
	case ambiguous:
		words = append(words, "--organization", quoted(string(k.InternalID)))
	}
	if strings.HasPrefix(string(k.ID), "-") {
		words = append(words, "--")
	}
	return strings.Join(append(words, quoted(string(k.ID))), " ")
}

// reference returns the namespace's id or, if several organizations use the id, its name.
func (r registry) reference(n *apikey.Namespace) string {
	for tenant, others := range r.of {
		if tenant != n.InternalID && slices.ContainsFunc(others, func(o apikey.Namespace) bool { return o.ID == n.ID }) {
			return n.Name
		}
	}
	return string(n.ID)
}

// quoted returns the word quoted for a shell.
func quoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// known describes a key to someone who found it.
func (r registry) known(ctx context.Context, k *apikey.Key) (known, error) {
	status := k.StatusAt(time.Now())
	found := known{
		Status: string(status), KeyID: apikey.ID(strings.Clone(string(k.ID))), Name: strings.Clone(k.Name), // cloned, so that the document can be freed
		Organization: strings.Clone(r.organization(k)), active: status == apikey.Active,
		tenant: apikey.InternalID(strings.Clone(string(k.InternalID))),
	}
	if found.active {
		same, err := r.engine.KeysWithID(ctx, k.ID)
		if err != nil {
			return known{}, err
		}
		found.Revoke = r.revocation(k, len(same) > 1)
	}
	rs, err := r.engine.Retrievers(ctx, k.InternalID, k.Retrievers())
	if err == nil && len(rs) > 0 {
		found.Namespace, found.Retriever = rs[0].NamespaceID, rs[0].ID
	}
	return found, err
}

// known describes a key that was found.
type known struct {
	Status       string             `json:"status"` // "unknown" if the store has no such key
	KeyID        apikey.ID          `json:"key_id,omitempty"`
	Name         string             `json:"name,omitempty"`
	Organization string             `json:"organization,omitempty"`
	Namespace    apikey.NamespaceID `json:"namespace_id,omitempty"`
	Retriever    apikey.RetrieverID `json:"retriever_id,omitempty"`
	Revoke       string             `json:"revoke,omitempty"`        // the command that revokes the key
	Reported     bool               `json:"leak_reported,omitempty"` // by --report
	active       bool
	tenant       apikey.InternalID
}
