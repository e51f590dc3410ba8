package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"retrieverkeys/apikey"
)

// shelf is a Store of one retriever, ret_1_05, with these keys.
type shelf struct {
	apikey.Store

	keys []apikey.Key
}

func (s shelf) Namespaces(context.Context, apikey.InternalID, []string) ([]apikey.Namespace, error) {
	return []apikey.Namespace{{ID: "ns_1", Name: "name of ns_1", InternalID: "int_1"}}, nil
}

func (s shelf) Retrievers(context.Context, apikey.InternalID, []apikey.RetrieverID) ([]apikey.Retriever, error) {
	r, _ := retriever("ret_1_05")
	return []apikey.Retriever{r}, nil
}

func (s shelf) KeyPages(_ context.Context, _ apikey.InternalID, ids []apikey.RetrieverID, r apikey.KeyList) ([][]apikey.Key, error) {
	pages := make([][]apikey.Key, len(ids))
	for i := range pages {
		pages[i] = slices.Clone(s.keys[:min(len(s.keys), r.Limit)])
	}
	return pages, nil
}

// AnswersOf returns some answers about each key on the first and the last day.
func (s shelf) AnswersOf(_ context.Context, tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) (days []apikey.KeyDay, err error) {
	for i, id := range ids {
		for _, day := range []apikey.Day{from, to} {
			days = append(days, apikey.KeyDay{InternalID: tenant, ID: id, Day: day, Answers: apikey.Answers{Allowed: apikey.MaxCount - 1, Refused: int64(i)}})
		}
	}
	return days, nil
}

// KeysWithHashes returns the keys as those with the first hashes.
func (s shelf) KeysWithHashes(_ context.Context, _ apikey.InternalID, hashes []string, _ apikey.Fields) ([]apikey.Key, error) {
	found := slices.Clone(s.keys[:min(len(s.keys), len(hashes))])
	for i := range found {
		found[i].Hash = hashes[i]
	}
	return found, nil
}

func (s shelf) CountKeys(context.Context, apikey.InternalID, apikey.KeyConditions) (int, error) {
	return len(s.keys), nil
}

// texts are strange strings that documents can contain.
var texts = rapid.SampledFrom([]string{"", "plain", "a\"quote\\", "line\nfeed\ttab\r", "\x00\x1f\x7f", "ünïcödé 🔑", "\u2028</script>", strings.Repeat("long ", 300)})

func drawKey(t *rapid.T) apikey.Key {
	optional := func(name string) *string {
		if rapid.Bool().Draw(t, "no "+name) {
			return nil
		}
		return new(texts.Draw(t, name))
	}
	date := func(name string) *time.Time {
		if rapid.Bool().Draw(t, "no "+name) {
			return nil
		}
		zone := time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, name+"'s zone"))
		return new(time.UnixMilli(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, name)).In(zone))
	}
	k := apikey.Key{
		ID: apikey.ID(texts.Draw(t, "id")), Hash: texts.Draw(t, "hash"), Prefix: optional("prefix"), SubscriptionID: optional("subscription"),
		Type:       rapid.SampledFrom([]apikey.Type{apikey.Standard, apikey.MarketplaceSubscription, apikey.RetrieverKey, apikey.UserScoped, apikey.Session, apikey.UnknownType, apikey.UnreadableType, "ro\"bot", "Retriever"}).Draw(t, "type"),
		InternalID: "int_1", OrganizationID: optional("organization"), UserID: texts.Draw(t, "user"), Name: texts.Draw(t, "name"), Description: texts.Draw(t, "description"),
		Permissions: rapid.SliceOfN(rapid.SampledFrom([]apikey.Permission{apikey.Admin, apikey.Delete, apikey.Write, apikey.Read, apikey.UnknownPermission, "", "f\\ly"}), 0, 3).Draw(t, "permissions"),
		Stored:      rapid.SampledFrom([]apikey.Status{apikey.Active, apikey.Revoked, apikey.Expired}).Draw(t, "status"),
		ExpiresAt:   date("expiry"), LastUsedAt: date("use"), CreatedAt: date("creation"), CreatedBy: optional("creator"), RevokedAt: date("revocation"),
		RevokedBy: optional("revoker"), RevokeReason: optional("reason"), PrincipalID: optional("principal"), IsInternal: rapid.Bool().Draw(t, "internal"),
	}
	if k.LeakedAt = date("leak"); k.LeakedAt != nil {
		k.LeakSource, k.LeakURL = optional("leak's source"), optional("leak's URL")
	}
	if rapid.Bool().Draw(t, "limited") {
		k.RateLimitOverride = new(rapid.Int32().Draw(t, "limit"))
	}
	if rapid.Bool().Draw(t, "origins") {
		k.AllowedOrigins = rapid.SliceOfN(texts, 0, 2).Draw(t, "allowed origins")
	}
	if rapid.Bool().Draw(t, "rotated") {
		k.RotatedTo, k.RotatedFrom = new(apikey.ID("key_next")), new(apikey.ID("key_before"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "scopes") {
		k.Scopes = append(k.Scopes, apikey.Scope{
			ResourceType: rapid.SampledFrom([]apikey.ResourceType{apikey.ResourceRetriever, apikey.ResourceStorageConnection, apikey.ResourceAnnotation, apikey.UnknownResource, "", "gal\"axy"}).Draw(t, "resource type"),
			ResourceID:   texts.Draw(t, "resource"),
			Operations:   rapid.SliceOfN(rapid.SampledFrom([]apikey.Operation{apikey.ReadData, apikey.ManagePermissions, apikey.UnknownOperation, "", "READ_DATA\n"}), 0, 2).Draw(t, "operations"),
		})
	}
	return k
}

// below are the types that fast.go writes.
var below = []string{"ApiKeyConnection", "ApiKeyEdge", "PageInfo", "ApiKey", "ApiKeyScope", "ApiKeyUsage", "ApiKeyUsageDay", "ApiKeyLeak", "ApiKeyCheck"}

// drawnOperation generates operations over everything that fast.go writes.
type drawnOperation struct {
	t         *rapid.T
	aliases   int
	fragments []string
	plain     bool // without directives
}

func (o *drawnOperation) selection(typeName string, depth int) string {
	var b strings.Builder
	b.WriteString("{ ")
	for range rapid.IntRange(1, 6).Draw(o.t, "fields of "+typeName) {
		directive := rapid.SampledFrom([]string{"", "", "", "@include(if: $yes) ", "@include(if: $no) ", "@skip(if: $no) ", "@skip(if: true) "}).Draw(o.t, "directive")
		if o.plain {
			directive = ""
		}
		switch kind := rapid.IntRange(0, 9).Draw(o.t, "kind"); {
		case kind == 0:
			b.WriteString("__typename " + directive)
		case kind == 1 && depth > 0:
			on := o.condition(typeName)
			b.WriteString("... on " + on + " " + directive + o.selection(on, depth-1))
		case kind == 2 && depth > 0:
			b.WriteString("... " + directive + o.selection(typeName, depth-1))
		case kind == 3 && depth > 0:
			i := len(o.fragments)
			name := fmt.Sprintf("F%d", i)
			o.fragments = append(o.fragments, "") // reserve the index: selection can add more
			on := o.condition(typeName)
			o.fragments[i] = "fragment " + name + " on " + on + " " + o.selection(on, depth-1)
			b.WriteString("..." + name + " " + directive)
		case len(served.Types[typeName].Fields) == 0: // a union
		default:
			f := rapid.SampledFrom(served.Types[typeName].Fields).Draw(o.t, "field")
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			if rapid.Bool().Draw(o.t, "aliased") {
				o.aliases++
				fmt.Fprintf(&b, "a%d: ", o.aliases)
			}
			b.WriteString(f.Name)
			if slices.ContainsFunc(f.Arguments, func(a *ast.ArgumentDefinition) bool { return a.Type.NonNull }) {
				b.WriteString(`(retrieverId: "ret_1_05")`) // of ApiKey.check, the only one
			}
			b.WriteString(" " + directive)
			if next := f.Type.Name(); slices.Contains(below, next) {
				b.WriteString(o.selection(next, depth))
			} else if len(served.Types[next].Fields) > 0 {
				b.WriteString("{ __typename }")
			}
		}
	}
	b.WriteString("__typename }")
	return b.String()
}

// condition returns the type of a fragment that can be spread within typeName.
func (o *drawnOperation) condition(typeName string) string {
	on := []string{typeName}
	for _, abstract := range served.GetImplements(served.Types[typeName]) {
		on = append(on, abstract.Name)
	}
	return rapid.SampledFrom(on).Draw(o.t, "condition")
}

// tokens returns the tokens of a JSON text in their order.
func tokens(t *rapid.T, text []byte) []json.Token {
	var all []json.Token
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, token)
	}
}

// For any selection and any keys, lists must be the same with and without fast.go.
func TestFastSaysWhatGqlgenSays(t *testing.T) {
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		saysWhatGqlgenSays(t)
		compared++
	})
	t.Logf("%d operations compared", compared)
}

func FuzzFast(f *testing.F) { f.Fuzz(rapid.MakeFuzz(saysWhatGqlgenSays)) }

func saysWhatGqlgenSays(t *rapid.T) {
	store := shelf{keys: rapid.SliceOfN(rapid.Custom(drawKey), 0, 4).Draw(t, "keys")}
	o := drawnOperation{t: t, plain: rapid.Bool().Draw(t, "plain")}
	head := "query($yes: Boolean! = true, $no: Boolean!) { __typename @include(if: $yes) @skip(if: $no)"
	if o.plain {
		head = "{ __typename"
	}
	body := o.selection("ApiKeyConnection", 2)
	var hashes string
	for i := range 3 {
		hashes += fmt.Sprintf("%q ", strings.Repeat(strconv.Itoa(i), 64))
	}
	byHash := o.selection("ApiKey", 1)
	query := fmt.Sprintf(`%[5]s
		retriever(id: "ret_1_05") { ...R }
		apiKeysByHash(hashes: [%[6]s]) %[7]s
		more: retriever(id: "ret_1_05") { ...R apiKeys(first: %[1]d, includeRevoked: true) %[3]s ...R } }
		fragment R on Retriever { apiKeys(first: %[1]d, includeRevoked: true) %[2]s } %[4]s`,
		rapid.IntRange(0, 5).Draw(t, "first"), body, o.selection("ApiKeyConnection", 1), strings.Join(o.fragments, " "), head, hashes, byHash)
	accept := rapid.SampledFrom([]string{mediaJSON, mediaResponse}).Draw(t, "accept")
	var answers [2][2][]json.Token
	for i, slow := range []bool{true, false} {
		roomy := Limits{Depth: 100, Aliases: 10_000, RootFields: 10, Directives: 10, Tokens: 100_000, Entities: 1, Complexity: 1 << 30}
		h := NewHandler(Options{
			Service: &apikey.Service{Store: store}, Introspection: IntrospectionPublic, Limits: roomy, Logger: slog.New(slog.DiscardHandler), slow: slow,
		})
		for j, variables := range []map[string]any{{"no": false}, {"no": true, "yes": false}} { // a plan that is kept from the first request must be correct for the second
			text, err := json.Marshal(map[string]any{"query": query, "variables": variables})
			if err != nil {
				t.Fatal(err)
			}
			admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
			r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(context.Background(), admin), "ns_1"), http.MethodPost, "/graphql", strings.NewReader(string(text)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if strings.Contains(w.Body.String(), `"errors"`) {
				t.Fatalf("%s\n%s", query, w.Body)
			}
			answers[i][j] = tokens(t, w.Body.Bytes())
		}
	}
	if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
		t.Fatalf("%s\n(-gqlgen +fast)\n%s", query, diff)
	}
}

// A field that fast.go does not know makes every list that selects it several times as expensive. A field with a resolver can fail, which
// fast.go does not handle.
func TestFastKnowsEveryField(t *testing.T) {
	resolvers := reflect.TypeFor[ResolverRoot]()
	ofKeys := reflect.TypeFor[ApiKeyResolver]()
	resolved := func(field string) bool {
		_, has := ofKeys.MethodByName(strings.ToUpper(field[:1]) + field[1:])
		return has
	}
	known := map[string]func(field string) bool{
		"ApiKeyConnection": knows(&connectionObject), "PageInfo": knows(&pageInfoObject), "ApiKeyScope": knows(&scopeObject),
		"ApiKey":      func(field string) bool { return knows(&keyObject)(field) != resolved(field) },
		"ApiKeyUsage": knows(&usageObject), "ApiKeyUsageDay": knows(&usageDayObject),
		"ApiKeyLeak": knows(&leakObject), "ApiKeyCheck": knows(&checkObject),
		"AuditEventConnection": knows(&eventsObject), "AuditEvent": knows(&eventObject), "AuditChange": knows(&changeObject),
	}
	edge := func(field string) bool { return field == "cursor" || field == "node" }
	known["ApiKeyEdge"], known["AuditEventEdge"] = edge, edge
	var walk func(typeName string)
	walked := map[string]bool{}
	walk = func(typeName string) {
		if walked[typeName] {
			return
		}
		walked[typeName] = true
		if _, has := resolvers.MethodByName(typeName); has && typeName != "ApiKey" {
			t.Errorf("%s has resolvers", typeName)
		}
		for _, f := range served.Types[typeName].Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			if known[typeName] == nil || !known[typeName](f.Name) {
				t.Errorf("%s.%s has no writer", typeName, f.Name)
			}
			if len(served.Types[f.Type.Name()].Fields) > 0 && (typeName != "ApiKey" || !resolved(f.Name)) {
				walk(f.Type.Name())
			}
		}
	}
	walk("ApiKeyConnection")
	walk("ApiKeyUsage")
	walk("ApiKeyCheck")
	walk("AuditEventConnection")
	if len(walked) != len(known) {
		t.Errorf("walked %v", walked)
	}
}

func knows[T any](o *object[T]) func(string) bool {
	return func(field string) bool { return o.fields[field] != nil || o.nested[field] != nil }
}
