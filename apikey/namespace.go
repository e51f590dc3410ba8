package apikey

import "time"

// Namespace is a project of an organization: what a retriever lives in.
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

// Retriever is a configured search pipeline: what keys are issued for.
type Retriever struct {
	ID          RetrieverID
	Name        string
	Description *string
	NamespaceID NamespaceID
	InternalID  InternalID
	CreatedAt   *time.Time
	UpdatedAt   *time.Time

	Namespace *Namespace // the one it was found in; set by the Service
}
