package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// presenter renders every error of a response. Errors of the domain show their message, code and field. Errors of parsing and validation
// are gqlgen's. A wrong argument is named. Other errors show no details.
func presenter(logger *slog.Logger) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		if l := loaded(ctx); l != nil {
			l.failed.Add(1)
		}
		shown := &gqlerror.Error{Path: graphql.GetPath(ctx)}
		var located *gqlerror.Error
		if errors.As(err, &located) {
			shown.Path, shown.Locations = located.Path, located.Locations
		}

		var e *apikey.Error
		argument := argumentOf(ctx, shown.Path)
		switch {
		case errors.As(err, &e):
		case located != nil && located.Extensions["code"] != nil:
			located.Message = withoutValues(located.Message)
			return located
		case introspectionRefused(ctx):
			e = introspectionError(ctx)
		case argument != "":
			e = apikey.Invalid(argument, "%s %s.", argument, message(err))
			shown.Path = shown.Path[:len(graphql.GetFieldContext(ctx).Path())]
		default:
			e = apikey.Classify(err)
		}
		shown.Message, shown.Extensions = e.Message, extensions(e)
		if e.Limit != "" {
			shown.Err = operation.LimitError(e.Limit)
		}
		if fc := graphql.GetFieldContext(ctx); len(shown.Locations) == 0 && fc != nil && fc.Field.Field != nil && fc.Field.Position != nil {
			shown.Locations = []gqlerror.Location{{Line: fc.Field.Position.Line, Column: fc.Field.Position.Column}}
		}
		if e.Code == apikey.Internal || e.Code == apikey.Unavailable && e.Limit == "" { // reaching a limit is not a failure
			logger.ErrorContext(ctx, "field failed", "path", shown.Path.String(), "code", e.Code, "error", err, "cause", errors.Unwrap(e))
		}
		return shown
	}
}

// extensions are the machine-readable part of an error.
func extensions(e *apikey.Error) map[string]any {
	ext := map[string]any{"code": e.Code}
	if e.Field != "" {
		ext["field"] = e.Field
	}
	return ext
}

// limitExceeded is the error of an operation that exceeds a limit, named by its setting.
func limitExceeded(setting string, e *apikey.Error) *gqlerror.Error {
	return &gqlerror.Error{Message: e.Message, Extensions: extensions(e), Err: operation.LimitError(setting)}
}

// valuesIn finds the values that messages of parsing and validation repeat, apart from names. They may contain a pasted secret. Locations
// are enough to find them. It also names a setting that the parser does not know.
var valuesIn = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?s)( cannot represent .*? value): .*?(\.? Did you mean (the \w+ \w+ )?"\w+"\?)?$`), "$1$2"},
	{regexp.MustCompile(`(?s)(Expected value of type "[^"]*"), found .*$`), "$1."},
	{regexp.MustCompile(`(?s)\b(Unexpected|found) (\w+) ".*$`), "$1 $2"},
	{regexp.MustCompile(`^exceeded token limit of (\d+)$`), "The operation has too many tokens: at most $1 are allowed (MAX_TOKENS)."},
	{regexp.MustCompile(fmt.Sprintf(`[@$\w\[\]!…]{%d,}`, operation.LongestName+1)), "…"},
}

// longestMessage is how much of a message is examined, in bytes: its beginning and its end. Names in it can be as long as a body.
const longestMessage = 1 << 10

func withoutValues(message string) string {
	if len(message) > longestMessage {
		message = strings.ToValidUTF8(message[:longestMessage/2], "") + "…" + strings.ToValidUTF8(message[len(message)-longestMessage/2:], "")
	}
	for _, v := range valuesIn {
		message = v.pattern.ReplaceAllString(message, v.instead)
	}
	return message
}

// introspectionError is the response for callers who may not read the schema.
func introspectionError(ctx context.Context) *apikey.Error {
	switch c := apikey.CallerFrom(ctx); {
	case c.Anonymous():
		return &apikey.Error{Code: apikey.Unauthenticated, Message: "Introspection needs an API key, if it is not switched off."}
	case !c.Known():
		return &apikey.Error{Code: apikey.Forbidden, Message: "Introspection is not for a key of this type, if it is not switched off."}
	}
	return &apikey.Error{Code: apikey.Forbidden, Message: "Introspection is switched off."}
}

// introspectionRefused reports whether the current field asks for the schema and the caller may not read it.
func introspectionRefused(ctx context.Context) bool {
	fc := graphql.GetFieldContext(ctx)
	return fc != nil && fc.Field.Field != nil && // a list element has none
		(fc.Field.Name == "__schema" || fc.Field.Name == "__type") && graphql.GetOperationContext(ctx).DisableIntrospection
}

// argumentOf names the argument, or the part of it, to which a path leads from the current field. It is empty if the path leads to a
// field.
func argumentOf(ctx context.Context, path ast.Path) string {
	fc := graphql.GetFieldContext(ctx)
	if fc == nil {
		return ""
	}
	field := fc.Path()
	if len(path) <= len(field) {
		return ""
	}
	var names []string
	for _, p := range path[len(field):] {
		names = append(names, fmt.Sprint(p))
	}
	if len(names) > 1 && names[0] == mutationInput {
		names = names[1:]
	}
	return strings.Join(names, ".")
}

// mutationInput is the only argument of every mutation. The fields of its errors are named without it, as in the domain.
const mutationInput = "input"

// message is the text of an argument's error without the path in front of it.
func message(err error) string {
	if located, ok := errors.AsType[*gqlerror.Error](err); ok {
		return located.Message
	}
	return err.Error()
}

// recoverer turns a panic into an error without details, and logs its stack.
func recoverer(logger *slog.Logger) graphql.RecoverFunc {
	return func(ctx context.Context, p any) error {
		logger.ErrorContext(ctx, "panic", "value", p, "stack", string(debug.Stack()))
		return apikey.Classify(fmt.Errorf("panic: %v", p))
	}
}
