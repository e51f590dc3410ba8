package apikey

import "time"

// Namespace is a project of an organization. Retrievers live in namespaces.
type Namespace struct {
	ID               NamespaceID
	Name             string
	Description      *string
	InternalID       InternalID
	OrganizationID   *string
	OrganizationName *string
	CreatedAt        *time.Time
	UpdatedAt        *time.Time
}

// Retriever is a configured search pipeline, for which keys are issued.
type Retriever struct {
	ID          RetrieverID
	Name        string
	Description *string
	NamespaceID NamespaceID
	InternalID  InternalID
	CreatedAt   *time.Time
	UpdatedAt   *time.Time

	Namespace *Namespace // the namespace in which it was found; set by the Service
}

// homes are the namespaces of existing retrievers.
type homes map[RetrieverID]NamespaceID

func homesOf(retrievers []Retriever) homes {
	h := make(homes, len(retrievers))
	for i := range retrievers {
		r := &retrievers[i]
		if in, known := h[r.ID]; !known || r.NamespaceID < in { // ids that repeat: the smallest namespace
			h[r.ID] = r.NamespaceID
		}
	}
	return h
}

// first returns the namespace of the first existing retriever that the key names, or an empty id.
func (h homes) first(k *Key) NamespaceID {
	for _, id := range k.Retrievers() {
		if in, exists := h[id]; exists {
			return in
		}
	}
	return ""
}
