package mongodb

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

const defaultName = "retrieverkeys"

// CheckURI returns what is wrong with a connection string, as the rest of a sentence about it. The error never contains
// the password. A host that cannot be resolved now is not an error.
func CheckURI(uri string) error {
	_, _, err := parse(uri, slog.New(slog.DiscardHandler))
	if isA[*net.DNSError](err) {
		return nil
	}
	return err
}

// parse returns the URI's options, completed by this program's defaults, and the database in its path, if any.
func parse(uri string, logger *slog.Logger) (o *options.ClientOptions, database string, err error) {
	parsed, err := connstring.ParseAndValidate(uri)
	switch {
	case isA[*net.DNSError](err):
		return nil, "", fmt.Errorf("names a host that cannot be resolved: %w", err)
	case err != nil:
		return nil, "", badURI(uri)
	}
	for _, name := range slices.Sorted(maps.Keys(parsed.UnknownOptions)) {
		logger.Warn("MONGODB_URI has an unknown option, which has no effect", "option", name)
	}
	o = options.Client().ApplyURI(uri)
	if err := o.Validate(); err != nil {
		return nil, "", badOptions(o, err)
	}
	setDefault(&o.AppName, defaultName)
	// This is shorter than the time limit of a request, so that the request gets an answer, and a pool does not wait
	// long for a server that is down.
	setDefault(&o.ServerSelectionTimeout, 3*time.Second)
	// A restarted server is noticed when the last connection attempt ends, so this is how long it can stay unnoticed.
	// It is five round trips (TCP, TLS, hello, SCRAM) to another continent. A server that is too busy to authenticate
	// is not flooded: the driver tries two connections per pool at a time, and keeps those that work, unless the
	// password check takes too long.
	setDefault(&o.ConnectTimeout, 800*time.Millisecond)
	// The driver would retry until the request ends, and without a pause: see withRetry.
	o.SetRetryReads(false)
	// Firewalls and load balancers drop idle connections silently.
	setDefault(&o.MaxConnIdleTime, 10*time.Minute)
	return o, parsed.Database, nil
}

// checkName returns what is wrong with the name of a database.
func checkName(database string) error {
	if database == "" || len(database) > 63 || strings.ContainsAny(database, "/\\. \"$*<>:|?\x00") {
		return fmt.Errorf("%q is not a valid name of a MongoDB database", database)
	}
	return nil
}

func setDefault[T any](option **T, value T) {
	if *option == nil {
		*option = &value
	}
}

// badURI returns what is wrong with a URI that cannot be parsed. The driver's message quotes the URI, in which the
// password can be anywhere, so badURI checks the parts one by one instead.
func badURI(uri string) error {
	const bad = "is not a MongoDB connection string: "
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || scheme != connstring.SchemeMongoDB && scheme != connstring.SchemeMongoDBSRV {
		return errors.New(bad + "it must begin with mongodb:// or mongodb+srv://")
	}
	at := strings.LastIndex(rest, "@")
	_, query, _ := strings.Cut(rest[at+1:], "?")
	for _, pair := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, isOption := strings.Cut(pair, "=")
		isOption = isWord(name) && (isOption || at >= 0)
		if _, err := connstring.ParseAndValidate("mongodb://localhost/?" + pair); err != nil && isOption {
			return errors.New(bad + "the option " + name + " is invalid, or invalid here")
		}
	}
	if at >= 0 {
		if _, err := connstring.ParseAndValidate(scheme + "://" + rest[at+1:]); err == nil {
			return errors.New(bad + "the user name or password is wrong: write special characters as %XX, a slash as %2F")
		}
	}
	return errors.New(bad + "write mongodb://user:password@host:port/database?options")
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
}

// badOptions returns why the driver refuses options that were parsed, for example because a file cannot be read.
func badOptions(o *options.ClientOptions, cause error) error {
	const bad = "is not accepted"
	if o.Auth != nil && o.Auth.Password != "" && strings.Contains(cause.Error(), o.Auth.Password) {
		return errors.New(bad)
	}
	return fmt.Errorf(bad+": %w", cause)
}
