// Package config turns the command line and the environment into a Config. It is the only place that reads them.
package config

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Config is what the process was asked to do and how.
type Config struct {
	Command string // one of the names in Commands; empty is the bare command
	Help    bool   // print the help instead
	Topic   string // what the help is about: a command, or the first word of several; empty: everything

	// Arguments of the commands.
	Operands     []string // what is no flag: files, or a key's id
	Organization string   // bootstrap
	Namespace    string   // bootstrap and keys
	Email        string   // bootstrap
	Keys         Keys     // keys
	JSON         bool     // keys, namespaces, retrievers: print JSON instead of a table
	Federation   string   // schema: the version to compose by; empty: no subgraph

	// FederationWith are the fields of OptionalFields that the subgraph's schema has, too.
	FederationWith []string

	// Settings. The contract of each stands beside its name in settings.
	ListenAddr       string
	AdminAddr        string // empty: off
	AdminHosts       []string
	MongoURI         string
	MongoDatabase    string
	MongoServerAPI   string // empty: none is declared
	EmbeddedPath     string
	Demo             bool
	Introspection    string
	Playground       bool
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
	MaxConnections   int
	RequestTimeout   time.Duration
	ShutdownDelay    time.Duration
	TrustedProxies   []netip.Prefix
	Persisted        string // a file
	PersistedOnly    bool
	LogFormat        string
	LogLevel         slog.Level
	Traces           Traces
}

// Limits bound what one GraphQL request may ask for.
type Limits struct{ Depth, Aliases, RootFields, Directives, Tokens, Entities, Complexity, Reads int }

// Keys are the arguments of the keys commands.
type Keys struct {
	Retriever      string // list, create: its id or name
	Search         string // list
	IncludeRevoked bool   // list
	Name           string // create
	Description    string // create
	ExpiresAt      *time.Time
	Origins        []string
	RateLimit      *int
	Overlap        time.Duration // rotate
	Yes            bool          // revoke: do not ask
	ExitCode       bool          // scan: fail where a key is alive
	Rules          string        // scan: print the rules of this scanner instead
}

// DefaultEmbeddedPath is where the embedded store is kept where nothing else is said.
const DefaultEmbeddedPath = "data/retrieverkeys.db"

// Command is something the program can do.
type Command struct {
	Name, Arguments, Summary string
	Example                  string // arguments that make sense; empty: none
	flags                    func(*Config, *flag.FlagSet)
	required                 []string // flags
	operand                  string   // what it takes beside flags, one of them; empty: nothing
	many                     bool     // it takes several
}

// Scanners are the programs that keys scan prints rules for.
var Scanners = []string{"gitleaks", "detect-secrets"}

// OptionalFields are the fields of Query that a subgraph's schema has only where --with names them.
var OptionalFields = []string{"node", "viewer"}

// Commands are what the program can do, the bare command first.
var Commands = []Command{
	{Summary: "serve what is set; with nothing set, a demo in " + DefaultEmbeddedPath},
	{Name: "serve", Summary: "serve; refuses to start unless MONGODB_URI or EMBEDDED_PATH is set"},
	{
		Name: "bootstrap", Arguments: "--organization NAME --namespace NAME [--email E]",
		Summary: "make an organization, a namespace and an admin key, and print the key once",
		Example: "--organization Acme --namespace production",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.Func("organization", "the `NAME` of the organization; one that exists is added to", name(&c.Organization))
			fs.Func("namespace", "the `NAME` of the namespace; one that exists is kept", name(&c.Namespace))
			fs.StringVar(&c.Email, "email", "", "the address `E` of who made it, kept with the namespace")
		},
		required: []string{"organization", "namespace"},
	},
	{
		Name: "import", Arguments: "FILE", Summary: "load namespaces, retrievers and keys from Extended JSON, all or nothing",
		Example: "export.json", operand: "file",
	},
	{
		Name: "backup", Arguments: "FILE", Summary: "copy the embedded store to a new file, also while it serves",
		Example: "retrieverkeys-backup.db", operand: "file",
	},
	{
		Name: "keys list", Arguments: "--namespace NS [--retriever R] [--include-revoked] [--search TEXT] [--json]",
		Summary: "list the keys of a namespace or of one retriever; a search without --retriever finds revoked keys too",
		Example: "--namespace production --search ret_sk_Ab3",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			fs.Func("retriever", "only the keys of the retriever `R`, by id or name", notEmpty(&c.Keys.Retriever))
			fs.Func("search", "only keys with `TEXT` in name, description or prefix, in any case; a key, or its beginning, finds itself; - reads the text from standard input, which keeps a key out of the shell's history", notEmpty(&c.Keys.Search))
			fs.BoolVar(&c.Keys.IncludeRevoked, "include-revoked", false, "list revoked and expired keys too")
		},
		required: []string{"namespace"},
	},
	{
		Name: "keys create", Arguments: "--namespace NS --retriever R --name NAME [--description D] [--expires-at TIME] [--origin O]... [--rate-limit N] [--json]",
		Summary: "make a key, and print its plaintext once",
		Example: "--namespace production --retriever product-search --name Storefront --expires-at 2030-01-01T00:00:00Z",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			fs.Func("retriever", "the retriever `R` that the key executes, by id or name", notEmpty(&c.Keys.Retriever))
			fs.StringVar(&c.Keys.Name, "name", "", "the key's `NAME`, 1 to 100 characters")
			fs.StringVar(&c.Keys.Description, "description", "", "what it is for, `D`, up to 500 characters")
			fs.Func("expires-at", "when it ends, an RFC 3339 `TIME` such as 2030-01-31T12:00:00Z; default never", func(s string) error {
				t, err := time.Parse(time.RFC3339, s)
				if err != nil {
					return errors.New("must be an RFC 3339 time, such as 2027-01-31T12:00:00Z")
				}
				c.Keys.ExpiresAt = &t
				return nil
			})
			fs.Func("origin", "an origin `O` whose pages may use it, such as https://app.example.com or https://*.example.com; may be repeated; default all",
				func(s string) error { c.Keys.Origins = append(c.Keys.Origins, s); return nil })
			fs.Func("rate-limit", "at most `N` requests a minute", func(s string) error {
				n, err := strconv.ParseInt(s, 10, 32)
				limit := int(n)
				c.Keys.RateLimit = &limit
				return positive(n, err, "a whole number")
			})
		},
		required: []string{"namespace", "retriever", "name"},
	},
	{
		Name: "keys rotate", Arguments: "--namespace NS [--overlap DURATION] [--json] KEY_ID",
		Summary: "put a new key in an active one's place, and print its plaintext once; the old one works on for the overlap, such as 24h",
		Example: "--namespace production --overlap 24h key_0123456789abcdefghijABCD",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			fs.Func("overlap", "for how long the old key works on, a `DURATION` such as 24h, up to 720h; default 0s", func(s string) (err error) {
				if c.Keys.Overlap, err = time.ParseDuration(s); err != nil || c.Keys.Overlap < 0 {
					return errors.New("must be a duration such as 24h")
				}
				return nil
			})
		},
		required: []string{"namespace"}, operand: "key id",
	},
	{
		Name: "keys revoke", Arguments: "[--namespace NS] [--yes] [--json] KEY_ID",
		Summary: "end a key for good; asks first unless --yes",
		Example: "key_0123456789abcdefghijABCD",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			fs.Lookup("namespace").Usage = "a namespace `NS` of the key's organization, by id or name; needed only where several organizations have a key of that id"
			fs.BoolVar(&c.Keys.Yes, "yes", false, "do not ask")
		},
		operand: "key id",
	},
	{
		Name: "keys scan", Arguments: "[--exit-code] [--json] FILE... | --rules gitleaks|detect-secrets",
		Summary: "find keys, and fragments of keys, in files, and tell which are alive; - is the standard input; reads gzip, UTF-16 and UTF-32 too; with --rules, print a rule file by which another scanner finds keys",
		Example: "--exit-code app.log app.log.1.gz",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.BoolVar(&c.Keys.ExitCode, "exit-code", false, "exit with 3 where a key is alive")
			fs.Func("rules", "print a rule file for the scanner `TOOL`, and read no file: "+strings.Join(Scanners, " or "), func(s string) error {
				c.Keys.Rules = s
				return choice(new(string), Scanners...)(s)
			})
			jsonFlag(c, fs)
		},
		operand: "file", many: true,
	},
	{
		Name: "namespaces list", Arguments: "[--json]", Summary: "list the namespaces of all organizations",
		flags: jsonFlag,
	},
	{
		Name: "retrievers list", Arguments: "[--namespace NS] [--json]", Summary: "list the retrievers of a namespace, or of all",
		Example: "--namespace production",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.Func("namespace", "only those of the namespace `NS`, by id or name", notEmpty(&c.Namespace))
			jsonFlag(c, fs)
		},
	},
	{
		Name: "indexes", Arguments: "[--json]",
		Summary: "tell of each query which index it wants and what MongoDB did with it; exit 1 where one is missing or not used",
		flags:   jsonFlag,
	},
	{
		Name: "schema", Arguments: "[--federation[=2.3] [--with node,viewer]]",
		Summary: "print the GraphQL schema, or what a gateway composes of it",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.BoolFunc("federation", "print the schema of the Apollo Federation subgraph; --federation=2.3 is for composers that do not know @listSize", func(s string) error {
				if c.Federation = s; s == "true" {
					c.Federation = "2.9"
				}
				return choice(new(string), "2.9", "2.3")(c.Federation)
			})
			fs.Func("with", "the `FIELDS` of Query, separated by commas, that the subgraph's schema otherwise leaves out: node, viewer", func(s string) error {
				for name := range strings.SplitSeq(s, ",") {
					name = strings.TrimSpace(name)
					if err := choice(new(string), OptionalFields...)(name); err != nil {
						return err
					}
					c.FederationWith = append(c.FederationWith, name)
				}
				return nil
			})
		},
	},
	{Name: "healthcheck", Summary: "exit 0 if the server at LISTEN_ADDR is ready"},
	{
		Name: "completion", Arguments: "bash|zsh|fish", Summary: "print a script that completes commands and flags in a shell",
		Example: "bash > /etc/bash_completion.d/retrieverkeys", operand: "shell",
	},
	{Name: "version", Summary: "print the version; so does --version"},
}

// Parse reads the arguments (without the program's name) and the environment. The problems are all there are; with
// any of them nothing should be started.
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
		problems = append(problems, errors.New("MONGODB_URI (or MONGODB_URI_FILE) and EMBEDDED_PATH are both set: set only that of the store that is meant"))
	}
	if c.Command == "serve" && !stored {
		problems = append(problems, errors.New("serve needs a store: set MONGODB_URI or EMBEDDED_PATH"))
	}
	if c.Command == "backup" && c.MongoURI != "" {
		problems = append(problems, errors.New("backup is for the embedded store: with MONGODB_URI set, use MongoDB's mongodump"))
	}
	if !stored {
		c.EmbeddedPath = DefaultEmbeddedPath
	}
	if c.PersistedOnly && c.Persisted == "" {
		problems = append(problems, errors.New("PERSISTED_ONLY needs a manifest: set PERSISTED_OPERATIONS"))
	}
	embedded := c.MongoURI == ""
	if getenv("DEMO") == "" {
		c.Demo = c.Command == "" && embedded
	}
	// Whoever tries the demo tries it from a page of their own, on whichever port their tools chose.
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

func (c *Config) parseCommand(args []string) []error {
	name, args := commandName(args)
	i := slices.IndexFunc(Commands, func(c Command) bool { return c.Name == name })
	switch {
	case len(group(name)) > 0:
		return []error{fmt.Errorf("%s needs to be told what to do: %s", name, alternatives(group(name)))}
	case i < 0:
		return []error{unknownCommand(name)}
	}
	command := Commands[i]
	c.Command = name

	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if command.flags != nil {
		command.flags(c, fs)
	}
	var problems []error
	var operands []string
	// Parse stops at a wrong flag and at what is no flag; going on behind it finds all there are.
	for len(args) > 0 {
		if args[0] == "--" {
			operands = append(operands, args[1:]...)
			break
		}
		err := fs.Parse(args)
		if err != nil {
			problems = append(problems, flagProblem(fs, err))
		}
		if err != nil && len(fs.Args()) == len(args) {
			args = args[1:] // bad syntax such as ---x is not consumed
			continue
		}
		unknown := err != nil && strings.HasPrefix(err.Error(), notDefined) && !strings.Contains(args[len(args)-len(fs.Args())-1], "=")
		if rest := fs.Args(); unknown && command.operand == "" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			args = rest[1:] // its value, most likely
			continue
		}
		if rest := fs.Args(); err == nil && len(rest) < len(args) && args[len(args)-len(rest)-1] == "--" {
			operands = append(operands, rest...)
			break
		}
		args = fs.Args()
		if len(args) > 0 && (!strings.HasPrefix(args[0], "-") || args[0] == "-") {
			operands, args = append(operands, args[0]), args[1:]
		}
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, r := range command.required {
		if !given[r] {
			problems = append(problems, fmt.Errorf("--%s is required", r))
		}
	}
	switch {
	case c.Keys.Rules != "":
		for _, flag := range slices.Sorted(maps.Keys(given)) {
			if flag != "rules" {
				problems = append(problems, fmt.Errorf("--rules goes without --%s: it prints rules and scans nothing", flag))
			}
		}
		if len(operands) > 0 {
			problems = append(problems, errors.New("--rules goes without a file: it prints rules and scans nothing"))
		}
	case command.operand == "" && len(operands) > 0:
		problems = append(problems, fmt.Errorf("unexpected argument %q", strings.Join(operands, " ")))
	case command.many && len(operands) == 0:
		problems = append(problems, fmt.Errorf("%s takes one or more %ss, not 0", name, command.operand))
	case command.operand != "" && len(operands) == 0, len(operands) > 1 && !command.many:
		problems = append(problems, fmt.Errorf("%s takes one %s, not %d", name, command.operand, len(operands)))
	}
	if name == "completion" && len(operands) == 1 && completions[operands[0]] == nil {
		problems = append(problems, fmt.Errorf("there is no completion for the shell %q: bash, zsh or fish", operands[0]))
	}
	if given["with"] && !given["federation"] {
		problems = append(problems, errors.New("--with needs --federation"))
	}
	c.Operands = operands
	return problems
}

// settings declares every environment variable: its default, its meaning and how it is read.
func (c *Config) settings() *flag.FlagSet {
	fs := flag.NewFlagSet("environment", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c.ListenAddr, c.AdminAddr, c.MaxBodyBytes = "127.0.0.1:8080", "127.0.0.1:8081", 1<<20
	fs.Func("LISTEN_ADDR", "where to listen; default 127.0.0.1:8080", func(s string) error {
		c.ListenAddr = s
		return address(s)
	})
	fs.Func("ADMIN_ADDR", "where to serve /metrics and /debug/pprof, or off; default 127.0.0.1:8081", func(s string) error {
		if c.AdminAddr = s; s == "off" {
			c.AdminAddr = ""
			return nil
		}
		return address(s)
	})
	fs.Func("ADMIN_HOSTS", "names, comma-separated, by which ADMIN_ADDR is asked beside localhost, addresses and its own; default none", hosts(&c.AdminHosts))
	fs.StringVar(&c.MongoURI, "MONGODB_URI", "", "a MongoDB deployment; empty: the embedded store")
	fs.Func("MONGODB_URI_FILE", "a file that holds MONGODB_URI", fromFile(&c.MongoURI))
	fs.Func("MONGODB_SERVER_API", "1: declare version 1 of MongoDB's Stable API, which some deployments require; default none", choice(&c.MongoServerAPI, "1"))
	fs.StringVar(&c.MongoDatabase, "MONGODB_DATABASE", "", "the database of MONGODB_URI's deployment; default the URI's path, else retrieverkeys")
	fs.StringVar(&c.EmbeddedPath, "EMBEDDED_PATH", "", "the embedded store's file; default "+DefaultEmbeddedPath)
	fs.BoolVar(&c.Demo, "DEMO", false, "fill an empty store with a demo; default true for the bare command on the embedded store")
	fs.Func("INTROSPECTION", "public, authenticated or off; default public on the embedded store, else authenticated",
		choice(&c.Introspection, "public", "authenticated", "off"))
	c.Playground, c.REST = true, true
	fs.Func("PLAYGROUND", "on or off; default on", switched(&c.Playground))
	fs.Func("REST", "the vendor's REST endpoints and their description: on, or off; default on", switched(&c.REST))
	fs.Func("CORS_ALLOWED_ORIGINS", "origins, comma-separated, whose pages may call from a browser, such as https://app.example.com or https://*.example.com; default none, but for the demo of the bare command those of localhost",
		func(s string) error {
			c.CORSOrigins = list(s)
			return nil
		})
	fs.Func("CORS_ALLOWED_HEADERS", "request headers, comma-separated, that these pages may send beside those that GraphQL clients and tracers are known to; default none",
		func(s string) error {
			c.CORSHeaders = list(s)
			return nil
		})
	c.AuthFailures = 6_000
	fs.Func("RATE_LIMIT_PER_MINUTE", "requests of each key that has no rate_limit_override; default 0: unlimited", count(&c.RateLimit))
	fs.Func("AUTH_FAILURES_PER_MINUTE", "bearers of one address, or one /64 of IPv6, that let nobody in, before others from there are refused; default 6000; 0: unlimited", count(&c.AuthFailures))
	fs.StringVar(&c.RedisURL, "REDIS_URL", "", "a Redis where all processes count requests and bad bearers together, such as redis://user:password@host:6379/0; default none: each counts for itself")
	fs.Func("REDIS_URL_FILE", "a file that holds REDIS_URL", fromFile(&c.RedisURL))
	fs.Func("MAX_BODY_BYTES", "the largest request body; default 1048576", func(s string) (err error) {
		c.MaxBodyBytes, err = strconv.ParseInt(s, 10, 64)
		return positive(c.MaxBodyBytes, err, "a whole number")
	})
	c.MaxResponseBytes = 32 << 20
	fs.Func("MAX_RESPONSE_BYTES", "the largest answer to a GraphQL request; the REST list is sent as it is read and has no limit; default 33554432", func(s string) (err error) {
		c.MaxResponseBytes, err = strconv.ParseInt(s, 10, 64)
		return positive(c.MaxResponseBytes, err, "a whole number")
	})
	for _, limit := range []struct {
		name, of string
		to       *int
		value    int
	}{
		{"MAX_DEPTH", "levels of fields within fields", &c.Limits.Depth, 12},
		{"MAX_ALIASES", "aliases of an operation; fields selected again may take a thousand times as many comparisons", &c.Limits.Aliases, 100},
		{"MAX_ROOT_FIELDS", "root fields of an operation", &c.Limits.RootFields, 100},
		{"MAX_DIRECTIVES", "directives of one field or fragment", &c.Limits.Directives, 10},
		{"MAX_TOKENS", "tokens of an operation's text; with fragments spread it may have four times as many fields and values", &c.Limits.Tokens, 15_000},
		{"MAX_ENTITIES", "entities that a gateway may ask for at once", &c.Limits.Entities, 500},
		{"MAX_COMPLEXITY", "fields of the answer, were all pages full", &c.Limits.Complexity, 2_000_000},
		{"MAX_READS", "documents that one request may look at in the store; each list counts ten more", &c.Limits.Reads, 200_000},
	} {
		*limit.to = limit.value
		fs.Func(limit.name, fmt.Sprintf("the most %s; default %d", limit.of, limit.value), number(limit.to))
	}
	c.MaxConcurrent, c.MaxConnections = turnsPerCore*runtime.GOMAXPROCS(0), 10_000
	fs.Func("MAX_CONCURRENT_REQUESTS", fmt.Sprintf("requests worked on at a time; 128 times as many wait for a turn, and the others are refused; default %d for each core", turnsPerCore), number(&c.MaxConcurrent))
	fs.Func("MAX_CONNECTIONS", "connections open at a time; for a new one that which is idle longest is closed; default 10000", number(&c.MaxConnections))
	c.RequestTimeout = 10 * time.Second
	fs.Func("REQUEST_TIMEOUT", "time for a whole request, store calls included; default 10s", func(s string) (err error) {
		c.RequestTimeout, err = time.ParseDuration(s)
		return positive(c.RequestTimeout, err, "a duration such as 10s,")
	})
	fs.Func("SHUTDOWN_DELAY", "how long, told to stop, to go on serving while /readyz says 503; default 0s", func(s string) (err error) {
		if c.ShutdownDelay, err = time.ParseDuration(s); err != nil || c.ShutdownDelay < 0 {
			return errors.New("must be a duration such as 5s")
		}
		return nil
	})
	fs.Func("TRUSTED_PROXIES", "addresses or CIDRs, comma-separated, whose X-Forwarded-For is believed; default none", prefixes(&c.TrustedProxies))
	fs.StringVar(&c.Persisted, "PERSISTED_OPERATIONS", "", "a manifest of operations that clients name by an id: Apollo's, or that of graphql-codegen's client preset; default none")
	fs.BoolVar(&c.PersistedOnly, "PERSISTED_ONLY", false, "true or false: run the manifest's operations only; default false")
	fs.Func("LOG_FORMAT", "text or json; default text on a terminal, else json", choice(&c.LogFormat, "text", "json"))
	fs.Func("LOG_LEVEL", "debug, info, warn or error; default info", func(s string) error {
		if c.LogLevel.UnmarshalText([]byte(s)) != nil {
			return errors.New("must be debug, info, warn or error")
		}
		return nil
	})
	return fs
}

func (c *Config) parseSettings(getenv func(string) string) []error {
	var problems []error
	fs := c.settings()
	fs.VisitAll(func(f *flag.Flag) {
		text := getenv(f.Name)
		if text == "" {
			return
		}
		if err := fs.Set(f.Name, text); err != nil {
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
				err = errors.New("must be true or false")
			}
			told := fmt.Errorf("%s=%q %w", f.Name, text, err)
			if strings.HasSuffix(f.Name, ofFile) { // somebody may have put the secret itself there
				told = fmt.Errorf("%s %w", f.Name, err)
			}
			problems = append(problems, told)
		}
		if setting, is := strings.CutSuffix(f.Name, ofFile); is && getenv(setting) != "" {
			problems = append(problems, fmt.Errorf("%s and %s are both set: set one of them", setting, f.Name))
		}
	})
	return problems
}

// ofFile ends the names of settings that name a file for another setting.
const ofFile = "_FILE"

// maxSecret is how long a setting in a file may be.
const maxSecret = 64 << 10

// fromFile reads a setting from a file, as secrets are mounted into containers. No error tells what the file holds.
func fromFile(to *string) func(string) error {
	return func(path string) error {
		text, err := readSecret(path)
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			return fmt.Errorf("cannot be read: %w", pathError.Err)
		}
		value := strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff"))
		switch {
		case err != nil:
			return fmt.Errorf("cannot be read: %w", err)
		case value == "":
			return errors.New("is empty")
		case len(text) > maxSecret || strings.ContainsAny(value, "\r\n"):
			return errors.New("must hold the setting alone, on one line")
		}
		*to = value
		return nil
	}
}

// readSecret reads a file, and no more of it than a setting may have and one byte.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}

// name reads a name of an organization or a namespace. The latter is written in a header.
func name(to *string) func(string) error {
	return func(s string) error {
		switch {
		case s == "" || utf8.RuneCountInString(s) > 100:
			return errors.New("must have 1 to 100 characters")
		case strings.TrimSpace(s) != s:
			return errors.New("must not begin or end with a space")
		case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !Printable(r) }):
			return errors.New("must be of printable characters")
		}
		*to = s
		return nil
	}
}

// keysFlags are what the keys commands have in common.
func keysFlags(c *Config, fs *flag.FlagSet) {
	fs.Func("namespace", "the namespace `NS`, by id or name", notEmpty(&c.Namespace))
	jsonFlag(c, fs)
}

func jsonFlag(c *Config, fs *flag.FlagSet) {
	fs.BoolVar(&c.JSON, "json", false, "print JSON")
}

func notEmpty(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("must not be empty")
		}
		*to = s
		return nil
	}
}

// list returns the members of a comma-separated list. It passes over empty ones: a comma at the end means nothing.
func list(s string) (members []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			members = append(members, part)
		}
	}
	return members
}

// prefixes reads a list of addresses and CIDRs. An address of IPv6 may stand in brackets. Those of IPv4 that are written as of
// IPv6 count as of IPv4, as the addresses that they are compared with do.
func prefixes(to *[]netip.Prefix) func(string) error {
	return func(s string) error {
		for _, member := range list(s) {
			prefix, err := netip.ParsePrefix(member)
			address, addressErr := netip.ParseAddr(member)
			if strings.HasPrefix(member, "[") {
				var withPort netip.AddrPort
				withPort, addressErr = netip.ParseAddrPort(member + ":0")
				address = withPort.Addr()
			}
			if addressErr == nil {
				prefix, err = netip.PrefixFrom(address.WithZone(""), address.BitLen()), nil
			}
			if err != nil {
				return fmt.Errorf("must be a list of addresses and CIDRs, which %q is not", member)
			}
			if prefix.Addr().Is4In6() && prefix.Bits() >= mappedBits {
				prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
			}
			*to = append(*to, prefix)
		}
		return nil
	}
}

// mappedBits are those before an address of IPv4 that is written as one of IPv6.
const mappedBits = 96

// turnsPerCore keeps all cores busy while requests wait for a store near by. With more, those that a store far away would
// leave time for, answers come later under load.
const turnsPerCore = 16

// number reads a number of 32 bits, so that what is counted beside it cannot overflow.
func number(to *int) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		*to = int(n)
		if err != nil || n < 1 {
			return fmt.Errorf("must be a whole number from 1 to %d", math.MaxInt32)
		}
		return nil
	}
}

// count is number, or 0.
func count(to *int) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("must be a whole number from 0 to %d", math.MaxInt32)
		}
		*to = int(n)
		return nil
	}
}

func choice(to *string, allowed ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("must be %s", strings.Join(allowed, " or "))
		}
		*to = s
		return nil
	}
}

// switched reads on or off.
func switched(to *bool) func(string) error {
	return func(s string) error {
		*to = s == "on"
		return choice(new(string), "on", "off")(s)
	}
}

func positive[T cmp.Ordered](n T, err error, what string) error {
	var zero T
	if err != nil || n <= zero {
		return fmt.Errorf("must be %s greater than zero", what)
	}
	return nil
}

// address checks host:port.
func address(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("must be host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return errors.New("must end in a port number")
	}
	return nil
}

const lettersAndDigits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// hosts reads a list of names of hosts.
func hosts(to *[]string) func(string) error {
	return func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if part == "" || strings.Trim(part, lettersAndDigits+"-._") != "" {
				return fmt.Errorf("must be a list of names of hosts, without ports, which %q is not", part)
			}
			*to = append(*to, part)
		}
		return nil
	}
}
