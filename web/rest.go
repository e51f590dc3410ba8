package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"retrieverkeys/apikey"
)

// The vendor's REST endpoints, over the same Service as GraphQL.

type rest struct {
	service *apikey.Service
	timeout time.Duration
	logger  *slog.Logger
}

// Key is an API key as the vendor's endpoints show it: its 22 fields, in the vendor's order.
type Key struct {
	KeyID             apikey.ID           `json:"key_id"`
	KeyHash           string              `json:"key_hash"`
	KeyPrefix         *string             `json:"key_prefix"`
	KeyType           apikey.Type         `json:"key_type"`
	SubscriptionID    *string             `json:"subscription_id"`
	InternalID        apikey.InternalID   `json:"internal_id"`
	OrganizationID    *string             `json:"organization_id"`
	UserID            string              `json:"user_id"`
	Name              string              `json:"name"`
	Description       string              `json:"description"`
	Permissions       []apikey.Permission `json:"permissions"`
	Scopes            []Scope             `json:"scopes"`
	RateLimitOverride *int32              `json:"rate_limit_override"`
	Status            apikey.Status       `json:"status"`
	ExpiresAt         *instant            `json:"expires_at"`
	LastUsedAt        *instant            `json:"last_used_at"`
	CreatedAt         *instant            `json:"created_at"`
	CreatedBy         *string             `json:"created_by"`
	RevokedAt         *instant            `json:"revoked_at"`
	RevokedBy         *string             `json:"revoked_by"`
	AllowedOrigins    []string            `json:"allowed_origins"`
	PrincipalID       *string             `json:"principal_id"`
}

// Scope is a scope of a Key.
type Scope struct {
	ResourceType apikey.ResourceType `json:"resource_type"`
	ResourceID   string              `json:"resource_id"`
	Operations   []apikey.Operation  `json:"operations"`
}

// NewKey returns the vendor's form of a key that the Service returned with all its fields.
func NewKey(k *apikey.Key) Key {
	scopes := make([]Scope, len(k.Scopes))
	for i, s := range k.Scopes {
		scopes[i] = Scope{s.ResourceType, s.ResourceID, list(s.Operations)}
	}
	keyType := k.Type
	if keyType == apikey.UnreadableType {
		keyType = apikey.UnknownType
	}
	return Key{
		KeyID: k.ID, KeyHash: k.Hash, KeyPrefix: k.Prefix, KeyType: keyType, SubscriptionID: k.SubscriptionID, InternalID: k.InternalID,
		OrganizationID: k.OrganizationID, UserID: k.UserID, Name: k.Name, Description: k.Description, Permissions: list(k.Permissions),
		Scopes: scopes, RateLimitOverride: k.RateLimitOverride, Status: k.Status, ExpiresAt: (*instant)(k.ExpiresAt),
		LastUsedAt: (*instant)(k.LastUsedAt), CreatedAt: (*instant)(k.CreatedAt), CreatedBy: k.CreatedBy, RevokedAt: (*instant)(k.RevokedAt),
		RevokedBy: k.RevokedBy, AllowedOrigins: k.AllowedOrigins, PrincipalID: k.PrincipalID,
	}
}

func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// instant is a time as it is shown: RFC 3339 in UTC, with milliseconds.
type instant time.Time

func (i instant) MarshalJSON() ([]byte, error) {
	return time.Time(i).UTC().AppendFormat(nil, `"`+apikey.Milliseconds+`"`), nil
}

// list answers with all keys of a retriever, however many: page after page, so that they are never all in memory. Once it
// has begun to answer, each page and each write has the whole timeout. What fails then cuts the connection, because a
// short list that looks whole would be worse than none.
func (h rest) list(w http.ResponseWriter, r *http.Request) {
	// Who may read nothing is not told what is wrong with the request.
	if _, err := h.service.Viewer(apikey.CallerFrom(r.Context())); err != nil {
		h.refuse(w, r, err)
		return
	}
	includeRevoked, err := boolean(r.URL.Query()["include_revoked"])
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	reader, page, err := h.firstPage(r, includeRevoked)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	setJSON(w)
	w.WriteHeader(http.StatusOK)
	opening, total := `{"results":[`, 0
	for len(page) > 0 {
		b := []byte(opening)
		for i := range page {
			if total > 0 || i > 0 {
				b = append(b, ',')
			}
			item, err := json.Marshal(NewKey(&page[i]))
			if err != nil {
				h.abort(r, err)
			}
			b = append(b, item...)
		}
		opening, total = "", total+len(page)
		h.write(w, b)
		page, err = h.nextPage(w, r, reader)
		if err != nil {
			h.abort(r, err)
		}
	}
	h.write(w, fmt.Appendf(nil, "%s],\"total\":%d}\n", opening, total))
}

// nextPage waits for its turn and reads on.
func (h rest) nextPage(w http.ResponseWriter, r *http.Request, reader *apikey.KeyReader) ([]apikey.Key, error) {
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	if t, ok := w.(*turn); ok {
		if err := t.again(ctx); err != nil {
			return nil, err
		}
	}
	return reader.Next(ctx)
}

// write sends a part of an answer, or cuts the connection to a client that does not take it in time.
func (h rest) write(w http.ResponseWriter, part []byte) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.timeout)) // where there is none to set, there is no client that could stall
	if _, err := w.Write(part); err != nil {                                      //nolint:gosec // it is JSON, and said to be
		panic(http.ErrAbortHandler)
	}
}

// abort cuts the connection in the midst of an answer.
func (h rest) abort(r *http.Request, err error) {
	report(r.Context(), h.logger, apikey.Classify(err))
	panic(http.ErrAbortHandler)
}

func (h rest) firstPage(r *http.Request, includeRevoked bool) (*apikey.KeyReader, []apikey.Key, error) {
	ctx := r.Context()
	caller := apikey.CallerFrom(ctx)
	retriever, err := h.service.Retriever(ctx, caller, apikey.NamespaceFrom(ctx), r.PathValue("retriever_id"))
	if err != nil {
		return nil, nil, err
	}
	reader, err := h.service.ReadKeys(caller, retriever, includeRevoked, "")
	if err != nil {
		return nil, nil, err
	}
	page, err := reader.Next(ctx)
	return reader, page, err
}

func (h rest) create(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if err := h.service.Admit(ctx, apikey.CallerFrom(ctx), apikey.KeyCreated); err != nil {
		h.refuse(w, r, err)
		return
	}
	settings, err := createBody(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	made, err := h.service.Create(ctx, apikey.CallerFrom(ctx), apikey.NamespaceFrom(ctx), r.PathValue("retriever_id"), settings)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, struct {
		Key
		Plaintext string `json:"key"`
	}{NewKey(&made.Key), made.Secret.Reveal()})
}

func (h rest) revoke(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	caller, namespace := apikey.CallerFrom(ctx), apikey.NamespaceFrom(ctx)
	if err := h.service.RevokeOf(ctx, caller, namespace, r.PathValue("retriever_id"), apikey.ID(r.PathValue("key_id"))); err != nil {
		h.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Message string `json:"message"`
		Success bool   `json:"success"`
	}{"Successfully completed", true})
}

// only405 answers methods that a path does not have.
func only405(allow ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		writeStatus(w, http.StatusMethodNotAllowed, "MethodNotAllowedError", "This path is asked by "+strings.Join(allow, " or ")+".")
	}
}

// booleans are what a boolean parameter may say, in any case.
var booleans = map[string]bool{
	"true": true, "1": true, "yes": true, "on": true, "t": true, "y": true,
	"false": false, "0": false, "no": false, "off": false, "f": false, "n": false,
}

// boolean reads include_revoked, which is false where it is not given.
func boolean(values []string) (bool, error) {
	b := false
	for i, v := range values {
		read, ok := booleans[strings.ToLower(v)]
		if !ok || i > 0 && read != b {
			return false, invalids{{[]any{"query", "include_revoked"}, "Input should be a valid boolean, unable to interpret input", "bool_parsing"}}
		}
		b = read
	}
	return b, nil
}

// refuse answers with what went wrong: in the vendor's envelope, or, where the body or a parameter does not validate, as
// the list of what is wrong with it.
func (h rest) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if list, ok := errors.AsType[invalids](err); ok {
		list.write(w)
		return
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		writeStatus(w, refused.status, "BadRequestError", refused.message)
		return
	}
	e := apikey.Classify(err)
	report(r.Context(), h.logger, e)
	if i := slices.IndexFunc(bodyFields, func(f bodyField) bool { return f.setting == e.Field && e.Code == apikey.BadUserInput }); i >= 0 {
		message := strings.ReplaceAll(e.Message, e.Field, bodyFields[i].name)
		invalids{{[]any{"body", bodyFields[i].name}, message, "value_error"}}.write(w)
		return
	}
	writeError(w, e)
}
