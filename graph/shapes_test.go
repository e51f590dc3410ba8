package graph

import (
	"fmt"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// Plans are kept together with the document that they were made for. Their size must be limited by the length of its text, because many
// operations of one text can spread the same fragment.
func TestShapesAreBoundedByTheirText(t *testing.T) {
	text := "fragment C on ApiKeyConnection { results { " + aliases(90, "name") + "} }"
	const operations = 50
	for i := range operations {
		text += fmt.Sprintf(` query Q%d { retriever(id: "ret_1_05") { apiKeys { ...C } } }`, i)
	}
	ctx := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard}})
	p := operation.NewParser(operationConfig(limits, true), nil)
	for i := range operations {
		doc, errs := p.Parse(ctx, text)
		if errs != nil {
			t.Fatal(errs)
		}
		op := &graphql.OperationContext{Doc: doc.QueryDocument, Operation: doc.Operations[i]}
		for _, r := range graphql.CollectFields(op, op.Operation.SelectionSet, nil) {
			for _, f := range graphql.CollectFields(op, r.Selections, nil) {
				kept := doc.Kept.(*shapes) //nolint:errcheck,forcetypeassert // it is what keepShapes made
				first, second := kept.of(ctx, op, f), kept.of(ctx, op, f)
				if i == 0 && first != second {
					t.Error("the first plan was not kept")
				}
				if i == operations-1 && first == second {
					t.Error("the last plan was kept")
				}
			}
		}
	}
	doc, _ := p.Parse(ctx, text)
	slots := 0
	for _, s := range doc.Kept.(*shapes).kept { //nolint:errcheck,forcetypeassert // as above
		slots += s.itemSlots
	}
	if slots == 0 || slots > len(text) {
		t.Errorf("got %d slots for a text of %d bytes", slots, len(text))
	}
}
