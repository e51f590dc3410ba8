package document_test

import (
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// A list of a thousand keys is a thousand of these.
func BenchmarkKey(b *testing.B) {
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
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, ok := document.Key(doc, fields); !ok {
					b.Fatal("unusable")
				}
			}
		})
	}
}
