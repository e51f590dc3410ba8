package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

const (
	demoOrganization = "Fjord Media"
	demoNamespace    = "production"
)

// demo fills an empty store with an example organization and prints its admin key once. If the store is not empty, it changes nothing
// and prints how to create another key.
func (c *command) demo(ctx context.Context, engine store.Engine, serverURL string) error {
	now := time.Now().UTC().Truncate(time.Millisecond)
	batch, ns, secret, err := demoBatch(now)
	if err != nil {
		return err
	}
	_, err = engine.Import(ctx, batch, document.ImportOptions{OnlyIfEmpty: true})
	if errors.Is(err, document.ErrNotEmpty) {
		return c.demoHint(ctx, engine, serverURL)
	}
	if err != nil {
		return err
	}
	c.addDemoUsage(ctx, engine, batch.Keys, now)
	_, err = fmt.Fprintf(c.stdout, `
  Created demo data: %s, with %d retrievers and %d API keys.

  Namespace   %s
  Admin key   %s
              (shown only once)

%s  GraphQL     %s/graphql

`, demoOrganization, len(batch.Retrievers), len(batch.Keys)-1, ns.Name, secret.Reveal(), c.pages(serverURL, ns.Name, secret.Reveal()), serverURL)
	return err
}

func (c *command) demoHint(ctx context.Context, engine store.Engine, serverURL string) error {
	organization, namespace := "NAME", "NAME"
	existing, err := engine.OrganizationNamespaces(ctx, demoOrganization)
	if err != nil {
		return err
	}
	if len(existing) > 0 {
		organization, namespace = "'"+demoOrganization+"'", demoNamespace
	}
	_, err = fmt.Fprintf(c.stdout, `
  Serving existing data. To create another admin key, run in another terminal:

    retrieverkeys bootstrap --organization %s --namespace %s

  From a source checkout, use "go run ." instead of "retrieverkeys".

%s  GraphQL     %s/graphql

`, organization, namespace, c.pages(serverURL, "", ""), serverURL)
	return err
}

// pages returns the lines that name the pages for people. The first page that is on gets the key, if there is one: in the console's link,
// which fits into one line of 100 columns, or else in the playground's.
func (c *command) pages(serverURL, namespace, key string) (lines string) {
	if c.cfg.Console {
		lines = "  Console     " + serverURL + "/"
		if key != "" {
			lines += "#key=" + key
		}
		lines += "\n"
	}
	switch {
	case !c.cfg.Playground:
	case key != "" && !c.cfg.Console:
		lines += "  Playground  " + playgroundLink(serverURL, namespace, key) + "\n"
	default:
		lines += "  Playground  " + serverURL + "/playground\n"
	}
	return lines
}

// demoQuery is the query that the printed link opens in the playground. It is short and indented by tabs, because the link contains it.
const demoQuery = `query Keys {
	retriever(id: "product-search") {
		apiKeys(includeRevoked: true) {
			total
			results { name status lastUsedAt createdBy }
		}
	}
}
`

// playgroundLink returns a link that opens the playground with the headers and the query filled in. They are in the URL's fragment, which
// browsers do not send, so no log and no proxy sees them.
func playgroundLink(serverURL, namespace, key string) string {
	headers, _ := json.Marshal(map[string]string{"Authorization": "Bearer " + key, "X-Namespace": namespace})
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return serverURL + "/playground#headers=" + escape(string(headers)) + "&query=" + escape(demoQuery)
}

// demoRetriever describes a retriever of the demo and its number of keys.
type demoRetriever struct {
	id, namespace, name, description string
	keys                             int
}

var demoRetrievers = []demoRetriever{
	{"ret_product_search", "ns_fjord_production", "product-search", "Finds products by text and picture, for the shop and its apps", 32},
	{"ret_support_articles", "ns_fjord_production", "support-articles", "Answers from the help centre's articles", 12},
	{"ret_video_moments", "ns_fjord_production", "video-moments", "Finds scenes in the video archive by speech and picture", 9},
	{"ret_staging_search", "ns_fjord_staging", "product-search", "The next version of the product search", 5},
	{"ret_catalog_preview", "ns_fjord_staging", "catalog-preview", "Next season's catalogue, for the editors", 3},
}

var (
	demoUsers   = []string{"usr_ingrid", "usr_mateo", "usr_yuki", "usr_amara"}
	demoPlaces  = []string{"Storefront", "iOS app", "Android app", "Partner Helle", "Kiosk Bergen", "Newsletter", "Editors' workspace", "Affiliate feed"}
	demoReasons = []string{"web search box", "mobile release", "partner integration", "load test", "trade fair", "A/B experiment"}
	demoOrigins = [][]string{nil, {"https://shop.fjord.example"}, nil, {"https://*.fjord.example"}, nil, {"https://shop.fjord.example", "https://m.fjord.example"}}
)

// demoBatch returns the demo's documents, with times relative to now.
func demoBatch(now time.Time) (document.Batch, apikey.Namespace, apikey.Secret, error) {
	organization, organizationID, tenant := demoOrganization, "org_fjord_media", apikey.InternalID("int_fjord_media")
	var b document.Batch
	namespace := func(id, name, description string) apikey.Namespace {
		made := now.AddDate(-1, 0, 0)
		n := apikey.Namespace{
			ID: apikey.NamespaceID(id), Name: name, Description: &description, InternalID: tenant,
			OrganizationID: &organizationID, OrganizationName: &organization, CreatedAt: &made, UpdatedAt: &made,
		}
		b.Namespaces = append(b.Namespaces, document.FromNamespace(n, ""))
		return n
	}
	production := namespace("ns_fjord_production", demoNamespace, "What customers use")
	namespace("ns_fjord_staging", "staging", "Where changes are tried first")

	n := 0
	for i, r := range demoRetrievers {
		made := now.AddDate(0, -10, 12*i)
		b.Retrievers = append(b.Retrievers, document.FromRetriever(apikey.Retriever{
			ID: apikey.RetrieverID(r.id), Name: r.name, Description: &r.description, NamespaceID: apikey.NamespaceID(r.namespace),
			InternalID: tenant, CreatedAt: &made, UpdatedAt: &made,
		}))
		for k := range r.keys {
			key := demoKey(n, k, r.id, now)
			key.InternalID, key.OrganizationID = tenant, &organizationID
			if n == demoLeaked {
				foundByGitHub(&key)
			}
			b.Keys = append(b.Keys, document.FromKey(key))
			n++
		}
	}
	for i, o := range demoOthers {
		key := o.key(demoUsers[i%len(demoUsers)], now)
		key.InternalID, key.OrganizationID = tenant, &organizationID
		b.Keys = append(b.Keys, document.FromKey(key))
	}
	admin, secret := apikey.NewAdminKey(production, demoUsers[0], "admin-key", "Manages the demo", now)
	doc, err := operatorKey(&admin, production, now)
	b.Keys = append(b.Keys, doc)
	return b, production, secret, err
}

// demoLeaked is the number of a key that was revoked.
const demoLeaked = 12

// foundByGitHub makes a revoked key one that was revoked because GitHub found it.
func foundByGitHub(k *apikey.Key) {
	by := string(apikey.System)
	k.RevokedBy, k.RevokeReason = &by, new("leaked")
	k.LeakedAt, k.LeakSource, k.LeakURL = k.RevokedAt, new("commit"), new("https://github.com/fjord-media/newsletter/blob/main/send.py#L12")
}

// demoOther describes a key that is not of one retriever alone. The times are days ago, and days ahead for expires; 0 means never.
type demoOther struct {
	name, description      string
	permission             apikey.Permission
	scopes                 []apikey.Scope // on retrievers: the key is a retriever's key
	created, used, expires int
}

var demoOthers = []demoOther{
	{"Infrastructure as code", "Creates the retrievers' keys", apikey.Admin, nil, 300, 1, 0},
	{"Nightly report", "Counts the keys of all namespaces", apikey.Admin, []apikey.Scope{{ResourceType: apikey.ResourceOrganization, ResourceID: "org_fjord_media", Operations: []apikey.Operation{apikey.ReadData}}}, 200, 1, 0},
	{"Staging deploys", "Renews the keys of staging", apikey.Write, []apikey.Scope{{ResourceType: apikey.ResourceNamespace, ResourceID: "ns_fjord_staging"}}, 150, 2, 40},
	{"Contractor", "For the redesign; ends with the contract", apikey.Delete, []apikey.Scope{{ResourceType: apikey.ResourceNamespace, ResourceID: "ns_fjord_*"}}, 80, 3, 5},
	{"Migration", "Forgotten after the move to the new platform", apikey.Admin, nil, 340, 0, 0},
	{"Mobile apps", "Search and help in one key", apikey.Read, executing("ret_product_search", "ret_support_articles"), 120, 1, 0},
	{"Editors", "The archive, and the next catalogue", apikey.Read, executing("ret_video_moments", "ret_catalog_preview"), 90, 4, 0},
	{"All searches", "Every search of every namespace", apikey.Read, executing("ret_*search"), 310, 250, 0},
	{"Trade fair", "For the stand; expires in three days", apikey.Read, executing("ret_product_search"), 10, 1, 3},
}

func executing(retrievers ...string) (scopes []apikey.Scope) {
	for _, id := range retrievers {
		scopes = append(scopes, apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: id, Operations: []apikey.Operation{apikey.ExecuteRetriever}})
	}
	return scopes
}

// key returns the key. Its plaintext is discarded, so nobody can use it.
func (o demoOther) key(user string, now time.Time) apikey.Key {
	at := func(days int) *time.Time {
		if days == 0 {
			return nil
		}
		return new(now.AddDate(0, 0, days))
	}
	key := apikey.NewRetrieverKey("", user, *at(-o.created))
	if len(o.scopes) == 0 || o.scopes[0].ResourceType != apikey.ResourceRetriever {
		key, _ = apikey.NewAdminKey(apikey.Namespace{}, user, "", "", *at(-o.created))
	}
	key.Name, key.Description, key.Permissions, key.Scopes = o.name, o.description, []apikey.Permission{o.permission}, o.scopes
	key.LastUsedAt, key.ExpiresAt = at(-o.used), at(o.expires)
	return key
}

// demoKey returns the k-th key of a retriever, the n-th of all. Its plaintext is discarded, so nobody can use it.
func demoKey(n, k int, retriever string, now time.Time) apikey.Key {
	key := apikey.NewRetrieverKey(apikey.RetrieverID(retriever), demoUsers[n%len(demoUsers)], now.Add(-time.Duration(5+67*k+11*n)*time.Hour))
	key.Name = demoPlaces[n%len(demoPlaces)]
	if k >= len(demoPlaces) {
		key.Name = fmt.Sprintf("%s %d", key.Name, 1+k/len(demoPlaces))
	}
	key.Description = "For the " + demoReasons[n%len(demoReasons)]
	key.AllowedOrigins = demoOrigins[n%len(demoOrigins)]
	at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	if n%7 != 0 {
		key.LastUsedAt = at(-time.Duration(n*n+3) * 13 * time.Minute)
		if key.LastUsedAt.Before(*key.CreatedAt) {
			key.LastUsedAt = at(now.Sub(*key.CreatedAt) / -2)
		}
	}
	if n%4 == 2 {
		limit := int32(60 * (1 + n%5))
		key.RateLimitOverride = &limit
	}
	switch n % 9 {
	case 3: // revoked by another user
		key.Stored = apikey.Revoked
		key.RevokedAt, key.RevokedBy = at(now.Sub(*key.CreatedAt)/-3), &demoUsers[(n+1)%len(demoUsers)]
	case 5: // expired, and stored as expired
		key.Stored, key.ExpiresAt = apikey.Expired, at(now.Sub(*key.CreatedAt)/-4)
	case 7: // expired, but stored as active
		key.ExpiresAt = at(now.Sub(*key.CreatedAt) / -5)
	case 1: // expires later
		key.ExpiresAt = at(time.Duration(6+n) * 24 * time.Hour)
	}
	return key
}
