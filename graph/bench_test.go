package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// everything selects all fields of a key that lists show.
const everything = `keyId keyHash keyPrefix keyType name description internalId organizationId userId subscriptionId principalId isInternal permissions
	scopes { resourceType resourceId operations } rateLimitOverride status expiresAt lastUsedAt createdAt createdBy revokedAt revokedBy allowedOrigins`

// shelves is a Store with any retriever that is requested, each with the same keys.
type shelves struct{ shelf }

func (s shelves) Retrievers(_ context.Context, _ apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	rs := make([]apikey.Retriever, len(ids))
	for i, id := range ids {
		rs[i] = apikey.Retriever{ID: id, Name: "name of " + string(id), NamespaceID: "ns_1", InternalID: "int_1"}
	}
	return rs, nil
}

// BenchmarkList measures a list as GraphQL, without the listener, authentication and the store.
func BenchmarkList(b *testing.B) {
	for _, c := range []struct {
		name, fields  string
		aliases, keys int
	}{
		{"1", everything, 1, 1}, {"20", everything, 1, 20}, {"100", everything, 1, 100}, {"1000", everything, 1, 1000},
		{"100 three fields", "keyId name status", 1, 100}, {"50 aliases 20", everything, 50, 20},
		{"1000 with 98 checks", "keyId " + aliases(98, `check(retrieverId: "ret_1_%02d") { allowed }`), 1, 1000},
	} {
		b.Run(c.name, func(b *testing.B) {
			text, now := "usr_2f9c41b7", time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
			keys := make([]apikey.Key, c.keys)
			for i := range keys {
				keys[i] = apikey.Key{
					ID: apikey.ID(fmt.Sprintf("key_8sT2mQ4vX7bN1cR5wZ9y%04d", i)), Hash: strings.Repeat("9f86d081", 8), Prefix: new("ret_sk_abc..."), Type: apikey.RetrieverKey,
					InternalID: "int_1", OrganizationID: new("org_4f1c"), UserID: text, Name: "Storefront of the north", Description: "Made for the partner's shop, asked for by mail.",
					Permissions: []apikey.Permission{apikey.Read}, Stored: apikey.Active, LastUsedAt: &now, CreatedAt: &now, CreatedBy: &text, PrincipalID: &text,
					Scopes:         []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1_05", Operations: []apikey.Operation{apikey.ExecuteRetriever}}},
					AllowedOrigins: []string{"https://shop.example.com", "https://*.example.org"},
				}
			}
			limits := Limits{Depth: 12, Aliases: 100, RootFields: 100, Directives: 10, Tokens: 15_000, Entities: 500, Complexity: 2_000_000}
			h := NewHandler(Options{Service: &apikey.Service{Store: shelves{shelf{keys: keys}}}, Introspection: IntrospectionOff, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
			query := "{"
			for i := range c.aliases {
				query += fmt.Sprintf(` a%d: retriever(id: "ret_%[1]d") { apiKeys(includeRevoked: true) { results { %s } total } }`, i, c.fields)
			}
			body, err := json.Marshal(map[string]any{"query": query + " }", "variables": map[string]any{}})
			if err != nil {
				b.Fatal(err)
			}
			admin := apikey.Caller{Key: &apikey.Key{ID: "key_admin", Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
			ctx := apikey.WithNamespace(apikey.WithCaller(context.Background(), admin), "ns_1")
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(string(body)))
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); strings.Count(w.Body.String(), "keyId") != c.aliases*c.keys {
					b.Fatalf("%.300s", w.Body)
				}
			}
		})
	}
}
