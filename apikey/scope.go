package apikey

import (
	"slices"
	"strings"
)

// Scope limits a key to resources. A scope that cannot be read has an unknown type or operation, so it still counts as a scope and covers
// nothing.
type Scope struct {
	ResourceType ResourceType
	ResourceID   string      // an exact id, or a pattern in which * matches any characters
	Operations   []Operation // empty: whatever the key's permissions allow
}

// ResourceType is the type of resource that a scope or an audit event is about, as stored.
type ResourceType string

// The vendor's resource types. UnknownResource stands for a value that is not text, or is empty.
const (
	ResourceOrganization      ResourceType = "organization"
	ResourceUser              ResourceType = "user"
	ResourceAPIKey            ResourceType = "api_key"
	ResourceNamespace         ResourceType = "namespace"
	ResourceCollection        ResourceType = "collection"
	ResourceBucket            ResourceType = "bucket"
	ResourceRetriever         ResourceType = "retriever"
	ResourceCluster           ResourceType = "cluster"
	ResourceTaxonomy          ResourceType = "taxonomy"
	ResourceStorageConnection ResourceType = "storage_connection"
	ResourceAlert             ResourceType = "alert"
	ResourceAnnotation        ResourceType = "annotation"
	ResourceDocument          ResourceType = "document"
	ResourceSecret            ResourceType = "secret"
	ResourceWebhook           ResourceType = "webhook"
	UnknownResource           ResourceType = "unknown"
)

// ResourceTypes are the known resource types.
var ResourceTypes = []ResourceType{
	ResourceRetriever, ResourceNamespace, ResourceOrganization, ResourceUser, ResourceAPIKey, ResourceCollection, ResourceBucket,
	ResourceCluster, ResourceTaxonomy, ResourceStorageConnection, ResourceAlert, ResourceAnnotation, ResourceDocument,
	ResourceSecret, ResourceWebhook,
}

// Known reports whether this version knows the resource type.
func (t ResourceType) Known() bool { return slices.Contains(ResourceTypes, t) }

// Operation is an operation that a scope allows, as stored.
type Operation string

// The vendor's operations. UnknownOperation stands for a value that is not text, or is empty.
const (
	ReadData             Operation = "read_data"
	WriteData            Operation = "write_data"
	DeleteData           Operation = "delete_data"
	ExecuteRetriever     Operation = "execute_retriever"
	CreateRetriever      Operation = "create_retriever"
	DeleteRetriever      Operation = "delete_retriever"
	ExecuteJob           Operation = "execute_job"
	CancelJob            Operation = "cancel_job"
	CreateCluster        Operation = "create_cluster"
	DeleteCluster        Operation = "delete_cluster"
	ModifyCluster        Operation = "modify_cluster"
	ModifyInfrastructure Operation = "modify_infrastructure"
	ManagePermissions    Operation = "manage_permissions"
	UnknownOperation     Operation = "unknown"

	// anyOperation is not Known, so only scopes that do not list operations allow it.
	anyOperation Operation = ""
)

// Operations are the known operations.
var Operations = []Operation{
	ReadData, WriteData, DeleteData, ExecuteRetriever, CreateRetriever, DeleteRetriever, ExecuteJob, CancelJob, CreateCluster,
	DeleteCluster, ModifyCluster, ModifyInfrastructure, ManagePermissions,
}

// Known reports whether this version knows the operation.
func (o Operation) Known() bool { return slices.Contains(Operations, o) }

// Reach is how much of an organization a key's scopes reach.
type Reach string

// The reaches, the widest first.
const (
	ReachOrganization Reach = "organization" // no scopes, or one on the organization
	ReachNamespaces   Reach = "namespaces"   // a scope on a namespace, or on a pattern of them
	ReachPattern      Reach = "pattern"      // a scope on a pattern of retrievers
	ReachRetrievers   Reach = "retrievers"   // scopes on retrievers by exact id
	ReachOther        Reach = "other"        // no retriever
)

// ReachFields are the fields of a key that Reach needs.
const ReachFields = FieldScopes | FieldInternalID | FieldOrganizationID

// Reach returns the widest reach of the key's scopes.
func (k *Key) Reach() Reach {
	if len(k.Scopes) == 0 {
		return ReachOrganization
	}
	reach := ReachOther
	for i := range k.Scopes {
		switch s := &k.Scopes[i]; {
		case s.ResourceID == "":
		case s.ResourceType == ResourceOrganization:
			if s.names(ResourceOrganization, string(k.InternalID)) || s.names(ResourceOrganization, text(k.OrganizationID)) {
				return ReachOrganization
			}
		case s.ResourceType == ResourceNamespace:
			reach = ReachNamespaces
		case s.ResourceType == ResourceRetriever && reach != ReachNamespaces:
			if strings.Contains(s.ResourceID, "*") {
				reach = ReachPattern
			} else if reach == ReachOther {
				reach = ReachRetrievers
			}
		}
	}
	return reach
}
