// Package config turns the command line and the environment into a Config. It is the only place that reads them.
package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Config is a command with its arguments, and the settings.
type Config struct {
	Command string // one of the names in Commands; empty is the bare command
	Help    bool   // print help and do nothing else
	Topic   string // of the help: a command, or the first word of several; empty: everything

	// Arguments of the commands.
	Operands     []string // files, or ids of keys
	Organization string   // bootstrap: its name; keys, namespaces, retrievers: its name or id
	Namespace    string   // bootstrap and keys
	Email        string   // bootstrap
	Keys         Keys     // keys
	Yes          bool     // repair: write
	JSON         bool     // keys, namespaces, retrievers: print JSON instead of a table
	Federation   string   // schema: the federation version; empty: print the server's own schema

	FederationWith []string // schema: the fields of OptionalFields to include

	// Settings. The method settings says what each means.
	ListenAddr       string
	AdminAddr        string // empty: off
	AdminHosts       []string
	MongoURI         string
	MongoDatabase    string
	MongoServerAPI   string // empty: none
	EmbeddedPath     string
	Demo             bool
	Introspection    string
	Playground       bool
	Console          bool
	REST             bool
	CORSOrigins      []string
	CORSHeaders      []string
	MaxBodyBytes     int64
	MaxResponseBytes int64
	Limits           Limits
	RateLimit        int // requests a minute; 0: unlimited
	AuthFailures     int // a minute; 0: unlimited
	RedisURL         string
	MaxConcurrent    int
	MaxStreams       int
	MaxConnections   int
	GatePath         string
	UsageDays        int // for which usage is kept
	LeakAction       string
	LeakKeys         string // a file or an https URL; empty: GitHub's reports are off
	AuditDays        int    // for which audit events are kept; 0: forever
	RequestTimeout   time.Duration
	ShutdownDelay    time.Duration
	Policy           Policy
	TrustedProxies   []netip.Prefix
	Persisted        string // a file
	PersistedOnly    bool
	LogFormat        string
	LogLevel         slog.Level
	Traces           Traces
}

// Limits are the limits of one GraphQL request.
type Limits struct{ Depth, Aliases, RootFields, Directives, Tokens, Entities, Complexity, Reads int }

// Policy says how long keys may live, and when they need attention. Zero lifetimes set no limit, and a notice of zero is off.
type Policy struct{ DefaultLifetime, MaxLifetime, StaleAfter, ExpiryNotice time.Duration }

// Keys are the arguments of the keys commands.
type Keys struct {
	Retriever      string    // list, create: its id or name
	Filter         KeyFilter // list
	IncludeRevoked bool      // list
	Name           *string   // create
	Description    string    // create
	ExpiresAt      *time.Time
	Origins        []string
	RateLimit      *int
	Overlap        time.Duration // rotate, which also has ExpiresAt
	Yes            bool          // revoke: do not ask
	Reason         *string       // revoke
	DryRun         bool          // revoke: only report
	ExitCode       bool          // scan: exit with 3 if a key is active
	Report         bool          // scan: report the keys as leaked
	Rules          string        // scan: print the rules for this scanner and read no file
}

// KeyFilter has the filters of keys list. They are those of the API.
type KeyFilter struct {
	Search        string
	Statuses      []string // of KeyStatuses
	Types         []string // of KeyTypes
	CreatedBy     *string
	CreatedAfter  *time.Time
	CreatedBefore *time.Time
	ExpiresAfter  *time.Time
	ExpiresBefore *time.Time
	NeverExpires  bool
	UnusedSince   *time.Time
	NeverUsed     bool
	Findings      []string // of KeyFindings
}

// Parse reads the arguments, without the program's name, and the environment. It returns every problem that it finds. If there is one,
// nothing may be started.
func Parse(args []string, getenv func(string) string) (Config, []error) {
	var c Config
	if about, asked := helpAbout(args); asked {
		var err error
		if c.Topic, err = topic(about); err != nil {
			return c, []error{err}
		}
		c.Help = true
		return c, nil
	}
	if len(args) == 1 && slices.Contains([]string{"--version", "-version"}, args[0]) {
		args = []string{"version"}
	}
	problems := append(c.parseCommand(args), c.parseSettings(getenv)...)
	var wrong []error
	c.Traces, wrong = traces(getenv)
	problems = append(problems, wrong...)

	stored := c.MongoURI != "" || getenv("MONGODB_URI"+ofFile) != "" || c.EmbeddedPath != ""
	if c.MongoURI != "" && c.EmbeddedPath != "" {
		problems = append(problems, errors.New("MONGODB_URI (or MONGODB_URI_FILE) and EMBEDDED_PATH are both set: set only one of them"))
	}
	if c.Command == "serve" && !stored {
		problems = append(problems, errors.New("serve needs a store: set MONGODB_URI or EMBEDDED_PATH"))
	}
	if c.Command == "backup" && c.MongoURI != "" {
		problems = append(problems, errors.New("backup copies the embedded store only: use mongodump for MongoDB"))
	}
	if !stored {
		c.EmbeddedPath = DefaultEmbeddedPath
	}
	if c.PersistedOnly && c.Persisted == "" {
		problems = append(problems, errors.New("PERSISTED_ONLY needs PERSISTED_OPERATIONS"))
	}
	problems = append(problems, c.Policy.check(getenv("KEY_EXPIRY_NOTICE") != "")...)
	if kept := time.Duration(c.AuditDays) * day; c.AuditDays > 0 && kept <= c.Policy.ExpiryNotice {
		problems = append(problems, errors.New("AUDIT_RETENTION_DAYS must be longer than KEY_EXPIRY_NOTICE: the event that a key expires soon would be deleted, and stored again, while it is still true"))
	}
	embedded := c.MongoURI == ""
	if getenv("DEMO") == "" {
		c.Demo = c.Command == "" && embedded
	}
	// People try the demo from a page of their own, on whatever port their tools choose.
	if c.Demo && c.Command == "" && embedded && getenv("CORS_ALLOWED_ORIGINS") == "" {
		c.CORSOrigins = []string{"http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"}
	}
	if c.Introspection == "" {
		c.Introspection = "authenticated"
		if embedded {
			c.Introspection = "public"
		}
	}
	return c, problems
}
