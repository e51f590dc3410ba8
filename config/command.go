package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultEmbeddedPath is the default of EMBEDDED_PATH.
const DefaultEmbeddedPath = "data/retrieverkeys.db"

// Command is a command of the program.
type Command struct {
	Name, Arguments, Summary string
	Example                  string // arguments of an example; may be empty
	flags                    func(*Config, *flag.FlagSet)
	required                 []string // flags
	operand                  string   // the kind of its operand; empty: it takes none
	many                     bool     // it takes several operands
}

// Scanners are the programs that keys scan prints rules for.
var Scanners = []string{"gitleaks", "detect-secrets"}

// OptionalFields are the fields of Query that the subgraph schema has only if --with names them.
var OptionalFields = []string{"node", "nodes", "viewer"}

// KeyStatuses, KeyTypes and KeyFindings are the statuses, types and findings that keys list can filter by.
var (
	KeyStatuses = []string{"active", "revoked", "expired"}
	KeyTypes    = []string{"standard", "marketplace_subscription", "retriever", "user_scoped", "session"}
	KeyFindings = []string{"never_expires", "beyond_max_lifetime", "expires_soon", "unused", "stale", "leaked"}
)

// Commands are all commands, the bare one first.
var Commands = []Command{
	{Summary: "start the server; without settings, with demo data in " + DefaultEmbeddedPath},
	{Name: "serve", Summary: "start the server; requires MONGODB_URI or EMBEDDED_PATH"},
	{
		Name: "bootstrap", Arguments: "--organization NAME --namespace NAME [--email E]",
		Summary: "create an organization, a namespace and an admin key, and print the key once",
		Example: "--organization Acme --namespace production",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.Func("organization", "`NAME` of the organization, new or existing", name(&c.Organization))
			fs.Func("namespace", "`NAME` of the namespace, new or existing", name(&c.Namespace))
			fs.StringVar(&c.Email, "email", "", "email address `E` of the creator, stored with the namespace")
		},
		required: []string{"organization", "namespace"},
	},
	{
		Name: "import", Arguments: "FILE", Summary: "import namespaces, retrievers and keys from Extended JSON, all or nothing",
		Example: "export.json", operand: "file",
	},
	{
		Name: "repair", Arguments: "[--yes]",
		Summary: "give stored keys without a key_id one, so that lists show them; says what it would do unless --yes; exit 1 if a key's id is taken",
		Example: "--yes",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.BoolVar(&c.Yes, "yes", false, "write; without it, only report")
		},
	},
	{
		Name: "backup", Arguments: "FILE", Summary: "copy the embedded store to a new file, even while a server uses it",
		Example: "retrieverkeys-backup.db", operand: "file",
	},
	{
		Name: "keys list", Arguments: "[--namespace NS [--retriever R]] [--organization ORG] [FILTER]... [--json]",
		Summary: "list the keys of a retriever, a namespace or an organization, newest first, or those of all organizations, one organization after the other; several filters must all match; leaves out revoked and expired keys unless --include-revoked, --status, or --search without --retriever asks for them",
		Example: "--organization Acme --created-by usr_mallory --created-after 2026-11-01",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			organizationFlag(c, fs)
			f := &c.Keys.Filter
			fs.Lookup("namespace").Usage = "only keys that name a retriever of namespace `NS`, by id or name"
			fs.Func("retriever", "only keys of retriever `R` of the namespace, by id or name", notEmpty(&c.Keys.Retriever))
			fs.Func("search", "only keys with `TEXT` in their name, description or prefix, ignoring case; a whole key finds itself; - reads the text from standard input, which keeps a key out of the shell's history", notEmpty(&f.Search))
			fs.BoolVar(&c.Keys.IncludeRevoked, "include-revoked", false, "include revoked and expired keys")
			fs.Func("status", "only keys with this `STATUS`: "+alternatives(KeyStatuses)+"; may be repeated", oneOf(&f.Statuses, KeyStatuses))
			fs.Func("type", "only keys of this `TYPE`: "+alternatives(KeyTypes)+"; may be repeated", oneOf(&f.Types, KeyTypes))
			fs.Func("created-by", "only keys that `USER` created, by id", func(s string) error { f.CreatedBy = &s; return nil })
			fs.Func("created-after", "only keys created at `TIME` or later: a date such as 2026-11-01, which begins at 00:00 UTC, or an RFC 3339 time such as 2026-11-01T03:00:00Z", instant(&f.CreatedAfter))
			fs.Func("created-before", "only keys created before `TIME`", instant(&f.CreatedBefore))
			fs.Func("expires-after", "only keys that expire at `TIME` or later", instant(&f.ExpiresAfter))
			fs.Func("expires-before", "only keys that expire before `TIME`", instant(&f.ExpiresBefore))
			fs.BoolVar(&f.NeverExpires, "never-expires", false, "only keys without an expiry")
			fs.Func("unused-since", "only keys that were not used at `TIME` or later, and those that were never used", instant(&f.UnusedSince))
			fs.BoolVar(&f.NeverUsed, "never-used", false, "only keys that were never used")
			fs.Func("finding", "only keys with this `FINDING`, and active ones unless it is leaked: "+alternatives(KeyFindings)+"; may be repeated", oneOf(&f.Findings, KeyFindings))
		},
	},
	{
		Name: "keys create", Arguments: "--namespace NS --retriever R --name NAME [--description D] [--expires-at TIME] [--origin O]... [--rate-limit N] [--json]",
		Summary: "create a key and print its plaintext once",
		Example: "--namespace production --retriever product-search --name Storefront --expires-at 2030-01-01T00:00:00Z",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			fs.Func("retriever", "retriever `R` that the key may execute, by id or name", notEmpty(&c.Keys.Retriever))
			fs.Func("name", "`NAME` of the key, 1 to 100 characters", func(s string) error { c.Keys.Name = &s; return nil })
			fs.StringVar(&c.Keys.Description, "description", "", "description `D`, up to 500 characters")
			fs.Func("expires-at", "expiry, an RFC 3339 `TIME` such as 2030-01-31T12:00:00Z; default KEY_DEFAULT_LIFETIME from now, else never", expiry(&c.Keys.ExpiresAt))
			fs.Func("origin", "origin `O` whose pages may use the key, such as https://app.example.com or https://*.example.com; may be repeated; default all",
				func(s string) error { c.Keys.Origins = append(c.Keys.Origins, s); return nil })
			fs.Func("rate-limit", "limit of `N` requests per minute", func(s string) error {
				n, err := strconv.ParseInt(s, 10, 32)
				if err := positive(n, err, "a whole number"); err != nil {
					return err
				}
				limit := int(n)
				c.Keys.RateLimit = &limit
				return nil
			})
		},
		required: []string{"namespace", "retriever", "name"},
	},
	{
		Name: "keys rotate", Arguments: "--namespace NS [--overlap DURATION] [--expires-at TIME] [--json] KEY_ID",
		Summary: "replace an active key by a new one and print its plaintext once; the old key keeps working for the overlap",
		Example: "--namespace production --overlap 24h key_0123456789abcdefghijABCD",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			fs.Func("overlap", "`DURATION` for which the old key keeps working, such as 24h, up to 720h; default 0s", func(s string) error {
				overlap, err := time.ParseDuration(s)
				if err != nil || overlap < 0 {
					return errors.New("must be a duration such as 24h")
				}
				c.Keys.Overlap = overlap
				return nil
			})
			fs.Func("expires-at", "expiry of the new key, an RFC 3339 `TIME` such as 2030-01-31T12:00:00Z; default that of the old key", expiry(&c.Keys.ExpiresAt))
		},
		required: []string{"namespace"}, operand: "key id",
	},
	{
		Name: "keys revoke", Arguments: "[--namespace NS] [--organization ORG] [--reason TEXT] [--dry-run] [--yes] [--json] KEY_ID...",
		Summary: "revoke keys for good; asks first unless --yes; - reads ids from standard input; can be run again after an interruption; exit 1 if a key was not revoked",
		Example: "--reason 'Posted in a forum' key_0123456789abcdefghijABCD",
		flags: func(c *Config, fs *flag.FlagSet) {
			keysFlags(c, fs)
			organizationFlag(c, fs)
			fs.Lookup("organization").Usage = "the keys' organization `ORG`, by name or id; needed only if several organizations have a key with the same id"
			fs.Lookup("namespace").Usage = "a namespace `NS` of the keys' organization, by id or name, instead of --organization"
			fs.Func("reason", "why, in `TEXT` of 1 to 200 characters, for the keys and the audit trail", func(s string) error { c.Keys.Reason = &s; return nil })
			fs.BoolVar(&c.Keys.DryRun, "dry-run", false, "say what would happen, and write nothing")
			fs.BoolVar(&c.Keys.Yes, "yes", false, "do not ask")
		},
		operand: "key id", many: true,
	},
	{
		Name: "keys scan", Arguments: "[--exit-code] [--report] [--json] FILE... | --rules gitleaks|detect-secrets",
		Summary: "find keys and fragments of keys in files and say which are active; reads gzip, UTF-16 and UTF-32; - is standard input; with --rules, print a rule file by which another scanner finds keys",
		Example: "--exit-code app.log app.log.1.gz",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.BoolVar(&c.Keys.ExitCode, "exit-code", false, "exit with 3 if a key is active")
			fs.BoolVar(&c.Keys.Report, "report", false, "report the keys as leaked, by their hashes; active ones are revoked unless LEAK_ACTION is report")
			fs.Func("rules", "print a rule file for the scanner `TOOL` and read no file: "+alternatives(Scanners), func(s string) error {
				c.Keys.Rules = s
				return choice(new(string), Scanners...)(s)
			})
			jsonFlag(c, fs)
		},
		operand: "file", many: true,
	},
	{
		Name: "namespaces list", Arguments: "[--organization ORG] [--json]", Summary: "list the namespaces of one or all organizations",
		flags: func(c *Config, fs *flag.FlagSet) {
			organizationFlag(c, fs)
			jsonFlag(c, fs)
		},
	},
	{
		Name: "retrievers list", Arguments: "[--namespace NS] [--organization ORG] [--json]",
		Summary: "list the retrievers of a namespace, an organization, or all organizations",
		Example: "--namespace production",
		flags: func(c *Config, fs *flag.FlagSet) {
			organizationFlag(c, fs)
			fs.Func("namespace", "only retrievers of namespace `NS`, by id or name", notEmpty(&c.Namespace))
			jsonFlag(c, fs)
		},
	},
	{
		Name: "indexes", Arguments: "[--json]",
		Summary: "show each query, the index it needs, and what MongoDB did with it; exit 1 if an index is missing or unused",
		flags:   jsonFlag,
	},
	{
		Name: "schema", Arguments: "[--federation[=2.3] [--with node,nodes,viewer]]",
		Summary: "print the GraphQL schema, or the subgraph schema for a gateway",
		flags: func(c *Config, fs *flag.FlagSet) {
			fs.BoolFunc("federation", "print the schema of the Apollo Federation subgraph; --federation=2.3 for composers without @listSize", func(s string) error {
				if c.Federation = s; s == "true" {
					c.Federation = "2.9"
				}
				return choice(new(string), "2.9", "2.3")(c.Federation)
			})
			fs.Func("with", "comma-separated `FIELDS` of Query that the subgraph schema otherwise leaves out: node, nodes, viewer", func(s string) error {
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
	{Name: "healthcheck", Summary: "exit with 0 if the server at LISTEN_ADDR is ready"},
	{
		Name: "completion", Arguments: "bash|zsh|fish", Summary: "print a shell script that completes commands and flags",
		Example: "bash > /etc/bash_completion.d/retrieverkeys", operand: "shell",
	},
	{Name: "version", Summary: "print the version, like --version"},
}

// keysFlags are the flags that the keys commands share.
func keysFlags(c *Config, fs *flag.FlagSet) {
	fs.Func("namespace", "namespace `NS`, by id or name", notEmpty(&c.Namespace))
	jsonFlag(c, fs)
}

func organizationFlag(c *Config, fs *flag.FlagSet) {
	fs.Func("organization", "only organization `ORG`, by name or id", notEmpty(&c.Organization))
}

func jsonFlag(c *Config, fs *flag.FlagSet) {
	fs.BoolVar(&c.JSON, "json", false, "print JSON")
}

func (c *Config) parseCommand(args []string) []error {
	name, args := commandName(args)
	i := slices.IndexFunc(Commands, func(c Command) bool { return c.Name == name })
	switch {
	case len(group(name)) > 0:
		return []error{fmt.Errorf("%s needs a subcommand: %s", name, alternatives(group(name)))}
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
	// Parse stops at a wrong flag and at an operand. Parsing goes on after it, to report every problem.
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
				problems = append(problems, fmt.Errorf("--rules cannot be combined with --%s: it prints rules and scans nothing", flag))
			}
		}
		if len(operands) > 0 {
			problems = append(problems, errors.New("--rules cannot be combined with a file: it prints rules and scans nothing"))
		}
	case command.operand == "" && len(operands) > 0:
		problems = append(problems, fmt.Errorf("unexpected argument %q", strings.Join(operands, " ")))
	case command.many && len(operands) == 0:
		problems = append(problems, fmt.Errorf("%s takes one or more %ss, not 0", name, command.operand))
	case command.operand != "" && len(operands) == 0, len(operands) > 1 && !command.many:
		problems = append(problems, fmt.Errorf("%s takes one %s, not %d", name, command.operand, len(operands)))
	}
	if name == "completion" && len(operands) == 1 && completions[operands[0]] == nil {
		problems = append(problems, fmt.Errorf("completion for shell %q is not available: use bash, zsh or fish", operands[0]))
	}
	switch {
	case name == "keys list" && given["retriever"] && !given["namespace"]:
		problems = append(problems, errors.New("--retriever needs --namespace"))
	case name == "keys revoke" && slices.Contains(operands, "-") && !c.Keys.Yes && !c.Keys.DryRun:
		problems = append(problems, errors.New("keys revoke - needs --yes or --dry-run: it reads ids from standard input, so it cannot ask"))
	}
	if given["with"] && !given["federation"] {
		problems = append(problems, errors.New("--with needs --federation"))
	}
	c.Operands = operands
	return problems
}
