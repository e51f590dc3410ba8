package apikey

import (
	"errors"
	"fmt"
	"time"
)

// Code classifies an Error. The codes are all kinds of failure of the product. Each is rendered once for GraphQL (extensions.code) and
// once for HTTP (the status and the vendor's error type).
type Code string

// The codes.
const (
	BadUserInput    Code = "BAD_USER_INPUT"
	Unauthenticated Code = "UNAUTHENTICATED"
	Forbidden       Code = "FORBIDDEN"
	NotFound        Code = "NOT_FOUND"
	Conflict        Code = "CONFLICT"
	RateLimited     Code = "RATE_LIMITED"
	Unavailable     Code = "UNAVAILABLE"
	Internal        Code = "INTERNAL_SERVER_ERROR"
)

// Codes are all codes, for tables and tests that must be exhaustive.
var Codes = []Code{BadUserInput, Unauthenticated, Forbidden, NotFound, Conflict, RateLimited, Unavailable, Internal}

// Error is a failure that a caller may see.
type Error struct {
	Code       Code
	Message    string        // for people; never contains a secret, a hash, a driver's message or another tenant's data
	Field      string        // the wrong argument or header, with BadUserInput
	Reason     Refusal       // with Forbidden, if a key may not execute a retriever
	Limit      string        // the setting that was exceeded, for metrics; may be empty
	PerMinute  int           // the rate limit in requests per minute, with RateLimited
	RetryAfter time.Duration // when to try again, with Unavailable and RateLimited; may be 0
	cause      error         // for the log only
}

// Error returns the public message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, which is for logs and errors.Is only.
func (e *Error) Unwrap() error { return e.cause }

// Invalid returns a BadUserInput error about field.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: BadUserInput, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Outage returns the Unavailable error of a store that is down or slow. The cause is for logs only.
func Outage(cause error) *Error {
	return &Error{Code: Unavailable, Message: "The service cannot reach its store. Try again shortly.", RetryAfter: time.Second, cause: cause}
}

// Classify returns err as an *Error. An error of another type becomes Internal and shows no details.
func Classify(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Message: "Internal server error.", cause: err}
}

// notFound does not repeat the id, which may be a pasted plaintext or hash.
func notFound(what string) *Error {
	return &Error{Code: NotFound, Message: "No such " + what + " here."}
}

func forbidden(message string) *Error { return &Error{Code: Forbidden, Message: message} }

func conflict(message string) *Error { return &Error{Code: Conflict, Message: message} }

func unauthenticated(message string) *Error { return &Error{Code: Unauthenticated, Message: message} }
