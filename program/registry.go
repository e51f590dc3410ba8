package program

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// registry contains the names of all organizations. It describes keys of any organization.
type registry struct {
	engine store.Engine
	names  map[apikey.InternalID]string // not all have one
}

func newRegistry(ctx context.Context, engine store.Engine) (registry, error) {
	r := registry{engine, map[apikey.InternalID]string{}}
	all, err := allNamespaces(ctx, engine)
	for _, n := range all {
		r.names[n.InternalID] = cmp.Or(r.names[n.InternalID], orEmpty(n.OrganizationName))
	}
	return r, err
}

// organization returns the name and id of the key's organization.
func (r registry) organization(k *apikey.Key) string {
	id := cmp.Or(orEmpty(k.OrganizationID), string(k.InternalID))
	if name := r.names[k.InternalID]; name != "" {
		return fmt.Sprintf("%s (%s)", name, id)
	}
	return id
}

// revocation returns the command that revokes the key. If the key's id is ambiguous, the command names its organization.
func (r registry) revocation(k *apikey.Key, ambiguous bool) string {
	words := []string{"retrieverkeys", "keys", "revoke"}
	if ambiguous {
		words = append(words, "--organization", quoted(string(k.InternalID)))
	}
	if strings.HasPrefix(string(k.ID), "-") {
		words = append(words, "--")
	}
	return strings.Join(append(words, quoted(string(k.ID))), " ")
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
