package document_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// BenchmarkKeys decodes a page of a list.
func BenchmarkKeys(b *testing.B) {
	const page = 100
	text, now := "usr_2f9c41b7", time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	doc := document.FromKey(apikey.Key{
		ID: "key_8sT2mQ4vX7bN1cR5wZ9yLkJp", Hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Prefix: new("ret_sk_abc..."), Type: apikey.RetrieverKey,
		InternalID: "int_4f1c", OrganizationID: new("org_4f1c"), UserID: text, Name: "Storefront of the north", Description: "Made for the partner's shop, asked for by mail.",
		Permissions: []apikey.Permission{apikey.Read}, Stored: apikey.Active, ExpiresAt: &now, LastUsedAt: &now, CreatedAt: &now, CreatedBy: &text, PrincipalID: &text,
		Scopes:         []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_9c41b72f", Operations: []apikey.Operation{apikey.ExecuteRetriever}}},
		AllowedOrigins: []string{"https://shop.example.com", "https://*.example.org"},
	})
	for name, fields := range map[string]apikey.Fields{"all": apikey.AllFields, "three": apikey.FieldName | apikey.StatusFields} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				reader := document.KeyReader{Fields: fields}
				for range page {
					if _, ok := reader.Key(doc); !ok {
						b.Fatal("unusable")
					}
				}
			}
		})
	}
}

// BenchmarkImportFile checks an import file and reads its documents.
func BenchmarkImportFile(b *testing.B) {
	const docs = 5_000
	var file bytes.Buffer
	file.WriteString(`{"api_keys":[`)
	for i := range docs {
		if i > 0 {
			file.WriteByte(',')
		}
		fmt.Fprintf(&file, `{"_id":{"$oid":"%024x"},"key_id":"key_%024d","key_hash":"%064x","key_prefix":"ret_sk_abc...","key_type":"retriever","subscription_id":null,
			"internal_id":"int_4f1c","organization_id":"org_4f1c","user_id":"usr_2f9c41b7","name":"Key %[1]d","description":"For the search of the shop's web site",
			"permissions":["read"],"scopes":[{"resource_type":"retriever","resource_id":"ret_9c41b72f","operations":["execute_retriever"]}],"rate_limit_override":null,
			"status":"active","expires_at":null,"last_used_at":null,"created_at":{"$date":"2025-01-01T00:00:00Z"},"created_by":"usr_2f9c41b7","revoked_at":null,
			"revoked_by":null,"allowed_origins":["https://shop.example"],"principal_id":null}`, i, i, i)
	}
	file.WriteString(`]}`)
	for b.Loop() {
		if _, err := parse(b.Context(), bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*docs)/b.Elapsed().Seconds(), "docs/s")
}
