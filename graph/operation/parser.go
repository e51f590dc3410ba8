// Package operation makes a valid, counted document of the text of a GraphQL operation: it parses, limits, caches and coerces, and finds
// persisted operations. It knows the schema and nothing of API keys; Config has what only its users know.
package operation

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"
	queryparser "github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Config is what the package needs from outside.
type Config struct {
	Schema      *ast.Schema
	Scalars     map[string]func(value any) (any, error) // reads a variable of each scalar type
	Limits      Limits
	Suggestions bool // in errors: the names of the schema that are similar to a wrong one

	MaxPage     int                            // items that a connection shows at most
	DefaultPage func(parent, field string) int // items that it shows without first and last

	ListLength func(f *ast.Field, variables map[string]any) int // items of the lists right below a field; 0: they count once

	Known    func(context.Context) bool   // whether the caller is known: nothing is kept of what unknown callers send
	Tenant   func(context.Context) string // the caller's organization, which its registered texts belong to
	HoldsKey func(text string) bool       // whether a text contains a secret: then it is not kept

	Keep func(text string) any // makes Document.Kept; optional
}

// Parser makes documents of texts. It replaces gqlgen's executor, which would validate them before anything is counted.
type Parser struct {
	Config

	cache *cache[*Document]
}

// Document is a text that was parsed and is valid.
type Document struct {
	*ast.QueryDocument

	Kept any // what Config.Keep made of the text; it stays in the cache as long as the document
}

// NewParser returns a parser. It reports each lookup in its cache to looked, unless that is nil.
func NewParser(c Config, looked func(hit bool)) *Parser {
	kept := newCache(c.Known, looked, func(text string, _ *Document) int { return len(text) })
	kept.once = newSightings() // texts with ids written into them never come again, and would take tens of megabytes
	return &Parser{c, kept}
}

// Parse returns the document of a text that is valid and within the limits, or all that is wrong with it.
func (p *Parser) Parse(ctx context.Context, text string) (*Document, gqlerror.List) {
	if doc, known := p.cache.Get(ctx, text); known {
		return doc, nil
	}
	source := &ast.Source{Input: text}
	parsed, err := queryparser.ParseQueryWithTokenLimit(source, p.Limits.Tokens)
	if err == nil {
		if pos := loneSurrogate(source); pos != nil {
			err = gqlerror.ErrorPosf(pos, "The string has half of a surrogate pair, which is not a character: send both halves.")
		}
	}
	if err != nil {
		errs := gqlerror.List{gqlerror.WrapIfUnwrapped(err)}
		if strings.HasPrefix(errs[0].Message, "exceeded token limit") {
			errs[0].Err = LimitError("MAX_TOKENS")
		}
		errcode.Set(errs[0], errcode.ParseFailed)
		return nil, errs
	}
	if err := p.Limits.check(parsed); err != nil {
		return nil, gqlerror.List{err}
	}
	errs := validate(p.Schema, parsed, p.Suggestions && len(text) <= longestSuggested)
	if len(parsed.Operations) == 0 {
		errs = gqlerror.List{gqlerror.Errorf("The document has no operation.")}
	}
	if len(errs) > 0 {
		for _, e := range errs {
			errcode.Set(e, errcode.ValidationFailed)
		}
		return nil, errs
	}
	doc := &Document{QueryDocument: parsed}
	if p.Keep != nil {
		doc.Kept = p.Keep(text)
	}
	if !p.HoldsKey(text) {
		p.cache.Add(ctx, text, doc)
	}
	return doc, nil
}

var (
	surrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)
	// escape matches a whole pair, or the escape of half a pair (group 1), or any other escape.
	escape = regexp.MustCompile(`(?i)\\ud[89ab]..\\ud[c-f]..|(\\ud[89a-f]..)|\\.`)
)

// loneSurrogate returns the position of a string that escapes half of a surrogate pair; nil if none does. The specification refuses them;
// the lexer replaces each with U+FFFD, so that the server would look for another text than the client sent.
func loneSurrogate(source *ast.Source) *ast.Position {
	if !surrogate.MatchString(source.Input) {
		return nil
	}
	runes := []rune(source.Input) // which positions count
	for lex := lexer.New(source); ; {
		token, err := lex.ReadToken()
		if err != nil || token.Kind == lexer.EOF {
			return nil
		}
		if token.Kind != lexer.String {
			continue
		}
		for _, match := range escape.FindAllStringSubmatch(string(runes[token.Pos.Start:token.Pos.End]), -1) {
			if match[1] != "" {
				return &token.Pos
			}
		}
	}
}

// MostErrors is the most errors that a response has for one document: nobody reads more, and each takes memory.
const MostErrors = 20

// longestSuggested is the length in bytes up to which a text gets suggestions for wrong names. The validator compares a wrong name with
// every name of the schema, letter by letter, which takes a core half a second for a name of a megabyte.
const longestSuggested = 64 << 10

// validate returns the first MostErrors errors of a document. Otherwise it is gqlparser's ValidateWithRules.
func validate(schema *ast.Schema, doc *ast.QueryDocument, suggestions bool) (errs gqlerror.List) {
	type enough struct{}
	defer func() {
		if p := recover(); p != nil && p != (enough{}) {
			panic(p)
		}
	}()
	observers := &core.Events{}
	for _, check := range checks[suggestions] {
		check.RuleFunc(observers, func(options ...core.ErrorOption) {
			err := &gqlerror.Error{Rule: check.Name}
			for _, o := range options {
				o(err)
			}
			if errs = append(errs, err); len(errs) == MostErrors {
				panic(enough{})
			}
		})
	}
	core.Walk(schema, doc, observers)
	if len(doc.Operations) > 1 {
		// The walk stores at each variable the definition of its operation, with the default. If operations share a fragment, that of
		// the last one stays there. Coerce has already applied the defaults of the operation that runs.
		forget := &core.Events{}
		forget.OnValue(func(_ *core.Walker, v *ast.Value) { v.VariableDefinition = nil })
		core.Walk(schema, doc, forget)
	}
	return errs
}

// checks are the rules in their order, with suggestions and without.
var checks = map[bool][]core.Rule{true: validation(true), false: validation(false)}

func validation(suggestions bool) (sorted []core.Rule) {
	r := rules.NewDefaultRules()
	if !suggestions { // "did you mean" reveals names
		r.ReplaceRule(rules.FieldsOnCorrectTypeRule.Name, rules.FieldsOnCorrectTypeRuleWithoutSuggestions.RuleFunc)
		r.ReplaceRule(rules.ScalarLeafsRule.Name, rules.ScalarLeafsRuleWithoutSuggestions.RuleFunc)
		r.ReplaceRule(rules.KnownArgumentNamesRule.Name, rules.KnownArgumentNamesRuleWithoutSuggestions.RuleFunc)
		r.ReplaceRule(rules.KnownTypeNamesRule.Name, rules.KnownTypeNamesRuleWithoutSuggestions.RuleFunc)
		r.ReplaceRule(rules.ValuesOfCorrectTypeRule.Name, rules.ValuesOfCorrectTypeRuleWithoutSuggestions.RuleFunc)
	}
	all := r.GetInner()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		sorted = append(sorted, core.Rule{Name: name, RuleFunc: all[name]})
	}
	return sorted
}

// Discreet returns a document's errors for a caller who may not see the schema. They keep their places, and name nothing of the schema that
// the document does not contain. Rules that name only parts of the document keep their messages; unknown rules do not.
func Discreet(errs gqlerror.List) gqlerror.List {
	for _, e := range errs {
		if e.Rule == "" || slices.Contains(namesWhatIsSent, e.Rule) {
			continue
		}
		if e.Message = discreetly[e.Rule]; e.Message == "" {
			e.Message = "This is not valid here."
		}
	}
	return errs
}

// namesWhatIsSent are the rules whose messages only contain names of the document.
var namesWhatIsSent = []string{
	rules.KnownFragmentNamesRule.Name, rules.LoneAnonymousOperationRule.Name, rules.MaxIntrospectionDepth.Name,
	rules.NoFragmentCyclesRule.Name, rules.NoUndefinedVariablesRule.Name, rules.NoUnusedFragmentsRule.Name, rules.NoUnusedVariablesRule.Name,
	rules.UniqueArgumentNamesRule.Name, rules.UniqueDirectivesPerLocationRule.Name, rules.UniqueFragmentNamesRule.Name,
	rules.UniqueInputFieldNamesRule.Name, rules.UniqueOperationNamesRule.Name, rules.UniqueVariableNamesRule.Name,
	rules.KnownTypeNamesRule.Name, rules.VariablesAreInputTypesRule.Name,
}

// discreetly has the messages of the other rules.
var discreetly = map[string]string{
	rules.FieldsOnCorrectTypeRule.Name:          "There is no such field here.",
	rules.FragmentsOnCompositeTypesRule.Name:    "There can be no fragment on this type.",
	rules.KnownArgumentNamesRule.Name:           "There is no such argument here.",
	rules.KnownDirectivesRule.Name:              "There is no such directive here.",
	rules.KnownRootTypeRule.Name:                "Such operations are not offered.",
	rules.OverlappingFieldsCanBeMergedRule.Name: "Fields of one response name conflict: give them different aliases.",
	rules.PossibleFragmentSpreadsRule.Name:      "This fragment can never apply here.",
	rules.ProvidedRequiredArgumentsRule.Name:    "A required argument is missing.",
	rules.ScalarLeafsRule.Name:                  "The field must have a selection of fields, or must not have one.",
	rules.SingleFieldSubscriptionsRule.Name:     "A subscription must select one field.",
	rules.ValuesOfCorrectTypeRule.Name:          "The value is not valid here.",
	rules.VariablesInAllowedPositionRule.Name:   "The variable's type does not fit where it is used.",
}
