package apikey

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without this, a new code has no rendering in GraphQL and HTTP, because their tables are checked against Codes.
func TestCodesIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value) //nolint:errcheck // a panic is a failure here
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, Code(text))
		}
		return true
	})
	if len(declared) == 0 {
		t.Fatal("no code is declared in error.go")
	}
	slices.Sort(declared)
	if diff := cmp.Diff(declared, slices.Sorted(slices.Values(Codes))); diff != "" {
		t.Error(diff)
	}
}

// A driver's error can contain host names, queries and hashes. Without this, callers see them.
func TestClassifyHidesForeignErrors(t *testing.T) {
	const secret = "mongo://root:hunter2@db7: E11000 dup key {key_hash: ab}"
	for _, foreign := range []error{
		errors.New(secret),
		fmt.Errorf("reading: %w", errors.New(secret)),
		errors.Join(errors.New(secret), context.Canceled),
	} {
		e := Classify(foreign)
		if e.Code != Internal || e.Error() != "Internal server error." || e.Field != "" || e.RetryAfter != 0 {
			t.Errorf("%v is classified as %+v", foreign, e)
		}
		if !errors.Is(e, foreign) {
			t.Errorf("the log loses the cause of %v", foreign)
		}
		if strings.Contains(fmt.Sprint(e), "hunter2") {
			t.Errorf("the classified error shows the text of %v", e)
		}
	}
}

// Without this, an outage or a refusal that was wrapped looks like an internal error.
func TestClassifyKeepsOurErrors(t *testing.T) {
	cause := errors.New("connection refused")
	outage := Outage(cause)
	if outage.Code != Unavailable || outage.RetryAfter <= 0 || outage.Error() == "" || strings.Contains(outage.Error(), "refused") {
		t.Errorf("got the outage %+v", outage)
	}
	if !errors.Is(outage, cause) {
		t.Error("an outage has lost its cause")
	}
	for _, err := range []*Error{outage, Invalid("first", "%d is too many", 7), forbidden("no"), notFound("key"), unauthenticated("who?")} {
		if got := Classify(fmt.Errorf("listing: %w", err)); got != err || got.Message == "" {
			t.Errorf("%+v became %+v", err, got)
		}
	}
	if diff := cmp.Diff("7 is too many", Invalid("first", "%d is too many", 7).Message); diff != "" {
		t.Error(diff)
	}
}
