package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
	"retrieverkeys/graph"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
	"retrieverkeys/store/sqlite"
)

func (p *program) schema(context.Context) error {
	text := graph.SDL()
	if p.cfg.Federation != "" {
		text = graph.SubgraphSDL(p.cfg.Federation, p.cfg.FederationWith...)
	}
	_, err := io.WriteString(p.stdout, text)
	return err
}

// build tells what the program was built from.
type build struct{ number, commit string }

// version reads what the Go toolchain recorded; a build outside a release or a checkout is "devel" of an unknown
// commit.
func version() build {
	b := build{number: "devel", commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.number = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.commit = s.Value
		}
	}
	return b
}

func (p *program) version(context.Context) error {
	v := version()
	_, err := fmt.Fprintf(p.stdout, "retrieverkeys %s\ncommit %s\n%s\n", v.number, v.commit, runtime.Version())
	return err
}

func (p *program) completion(context.Context) error {
	return config.WriteCompletion(p.stdout, p.cfg.Operands[0])
}

// commandTimeout bounds each call of a command to the store.
const commandTimeout = 30 * time.Second

// withStore runs a command on the configured store as it is. A command must work at once, so it makes no indexes.
func (p *program) withStore(ctx context.Context, f func(context.Context, store.Engine) error) (err error) {
	engine, _, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	return f(ctx, engine)
}

func (p *program) importFile(ctx context.Context) error {
	file, err := os.Open(p.cfg.Operands[0])
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	batch, err := document.Parse(file)
	if err != nil {
		return refused(p.cfg.Operands[0], err)
	}
	return p.withStore(ctx, func(ctx context.Context, engine store.Engine) error {
		bar := progressBar{to: p.stderr, total: batch.Len(), shown: isTerminal(p.stderr)}
		done, err := engine.Import(ctx, batch, document.ImportOptions{Progress: bar.show})
		bar.end()
		if err != nil {
			return refused(p.cfg.Operands[0], err)
		}
		for _, warning := range dangling(ctx, engine, batch) {
			complain(p.stderr, errors.New("warning: "+warning))
		}
		_, err = fmt.Fprintf(p.stdout, "Stored %s; %d were there already and are left as they are.\n", counted(done.Stored, "document"), done.Existing)
		return err
	})
}

// dangling says of an imported batch which keys name a retriever, and which retrievers a namespace, that the store does not have.
// That is no error: what is missing may be imported next.
func dangling(ctx context.Context, engine store.Engine, b document.Batch) []string {
	retrievers, namespaces := newReferences("retriever"), newReferences("namespace")
	for _, doc := range b.Keys {
		if k, ok := document.Key(doc, apikey.FieldInternalID|apikey.FieldScopes); ok {
			for _, id := range k.Retrievers() {
				if !strings.Contains(string(id), "*") { // which stands for whatever there is
					retrievers.add(k.InternalID, string(k.ID), string(id))
				}
			}
		}
	}
	for _, doc := range b.Retrievers {
		if r, ok := document.Retriever(doc); ok {
			namespaces.add(r.InternalID, string(r.ID), string(r.NamespaceID))
		}
	}
	return slices.Concat(
		retrievers.missing("key", "They authenticate, but no list shows them until it is there", func(tenant apikey.InternalID, ids []string) (there []string, err error) {
			asked := make([]apikey.RetrieverID, len(ids))
			for i, id := range ids {
				asked[i] = apikey.RetrieverID(id)
			}
			found, err := engine.Retrievers(ctx, tenant, asked)
			for _, r := range found {
				there = append(there, string(r.ID))
			}
			return there, err
		}),
		namespaces.missing("retriever", "Nobody sees them until it is there", func(tenant apikey.InternalID, ids []string) (there []string, err error) {
			found, err := engine.Namespaces(ctx, tenant, ids)
			for _, n := range found {
				there = append(there, string(n.ID))
			}
			return there, err
		}),
	)
}

// references are what documents name of another list.
type references struct {
	kind string
	from []reference
	ids  map[apikey.InternalID]map[string]bool // whether it is there
}

type reference struct {
	tenant   apikey.InternalID
	from, to string
}

func newReferences(kind string) *references {
	return &references{kind: kind, ids: map[apikey.InternalID]map[string]bool{}}
}

func (r *references) add(tenant apikey.InternalID, from, to string) {
	r.from = append(r.from, reference{tenant, from, to})
	if r.ids[tenant] == nil {
		r.ids[tenant] = map[string]bool{}
	}
	r.ids[tenant][to] = false
}

// missing looks up what is named, and says what is not there.
func (r *references) missing(thing, hence string, lookUp func(apikey.InternalID, []string) ([]string, error)) []string {
	const atOnce, shown = 1000, 5
	for tenant, ids := range r.ids {
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(ids)), atOnce) {
			there, err := lookUp(tenant, chunk)
			if err != nil {
				return []string{fmt.Sprintf("whether there is each %s that is named could not be looked up: %v", r.kind, err)}
			}
			for _, id := range there {
				ids[id] = true
			}
		}
	}
	var examples []string
	froms := map[reference]bool{}
	for _, ref := range r.from {
		if from := (reference{tenant: ref.tenant, from: ref.from}); !r.ids[ref.tenant][ref.to] && !froms[from] {
			froms[from] = true
			if len(examples) < shown {
				examples = append(examples, fmt.Sprintf("%s (%s)", ref.from, ref.to))
			}
		}
	}
	if len(froms) == 0 {
		return nil
	}
	list := strings.Join(examples, ", ")
	if more := len(froms) - len(examples); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	verb := "name"
	if len(froms) == 1 {
		verb = "names"
	}
	return []string{fmt.Sprintf("%s %s a %s that is not in the store: %s. %s.", counted(len(froms), thing), verb, r.kind, list, hence)}
}

// mustExist returns an error where there is no embedded store although it is configured. One that was made for the asking,
// because a setting was forgotten, would say that no key is alive, and its backup would be one of nothing.
func (p *program) mustExist() error {
	if p.cfg.MongoURI == "" {
		if _, err := os.Stat(p.cfg.EmbeddedPath); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no store at %s: set MONGODB_URI or EMBEDDED_PATH to the one that is meant", p.cfg.EmbeddedPath)
		}
	}
	return nil
}

// backup copies the embedded store.
func (p *program) backup(ctx context.Context) (err error) {
	path, file := p.cfg.EmbeddedPath, p.cfg.Operands[0]
	if err := p.mustExist(); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	b, err := s.Backup(ctx, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "Copied %s to %s, and checked the copy: %d bytes, %s, %s, %s, %s.\n",
		printable(path), printable(file), b.Bytes, counted(b.Namespaces, "namespace"), counted(b.Retrievers, "retriever"), counted(b.Keys, "key"), counted(b.Events, "audit event"))
	return err
}

// refused says of a batch with bad documents that nothing of it was stored.
func refused(file string, err error) error {
	problems, bad := errors.AsType[document.Problems](err)
	if !bad {
		return fmt.Errorf("%s: %w", file, err)
	}
	lines := []error{fmt.Errorf("%s was refused, and nothing of it stored", file)}
	for _, line := range problems.Lines() {
		lines = append(lines, detail("  "+line))
	}
	return errors.Join(lines...)
}

// progressBar draws how much is done on one line of a terminal.
type progressBar struct {
	to    io.Writer
	total int
	shown bool
}

func (b *progressBar) show(done int) {
	if !b.shown || b.total == 0 {
		return
	}
	const width = 40
	filled := width * done / b.total
	_, _ = fmt.Fprintf(b.to, "\r%s%s %3d %%  %d of %d", strings.Repeat("█", filled), strings.Repeat("░", width-filled), 100*done/b.total, done, b.total)
}

func (b *progressBar) end() {
	if b.shown {
		_, _ = fmt.Fprint(b.to, "\r\033[K")
	}
}

func (p *program) bootstrap(ctx context.Context) error {
	return p.withStore(ctx, func(ctx context.Context, engine store.Engine) error {
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		namespaces, err := engine.OrganizationNamespaces(ctx, p.cfg.Organization)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Millisecond)
		ns, isNew := chooseNamespace(namespaces, p.cfg.Organization, p.cfg.Namespace, now)
		key, secret := apikey.NewAdminKey(ns, apikey.NewID("usr_"), "admin-key", "Made by retrieverkeys bootstrap", now)
		doc, err := madeHere(&key, ns, now)
		if err != nil {
			return err
		}
		batch := document.Batch{Keys: []bson.Raw{doc}}
		if isNew {
			batch.Namespaces = []bson.Raw{document.FromNamespace(ns, p.cfg.Email)}
		}
		if _, err := engine.Import(ctx, batch, document.ImportOptions{}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, `
  Organization  %s  %s  %s
  Namespace     %s  %s
  Admin key     %s  %s

  The admin key is shown this once: keep it where you keep secrets.
`, p.cfg.Organization, value(ns.OrganizationID), ns.InternalID, ns.Name, ns.ID, secret.Reveal(), key.ID)
		return unseen(key.ID, err)
	})
}

// madeHere is the document of a key that whoever runs this program has made, and carries the event of that.
func madeHere(k *apikey.Key, ns apikey.Namespace, now time.Time) (bson.Raw, error) {
	return document.Carrying(document.FromKey(*k), apikey.NewOperator(operator(), ns).Made(k, ns.ID, now))
}

// chooseNamespace returns the organization's namespace with that name, or a new one in the organization, or a new
// one in a new organization. Where a name stands for several, the one with the smallest internal id, then id, is meant.
func chooseNamespace(existing []apikey.Namespace, organization, name string, now time.Time) (ns apikey.Namespace, isNew bool) {
	organizationID := apikey.NewID("org_")
	ns = apikey.Namespace{
		ID: apikey.NamespaceID(apikey.NewID("ns_")), Name: name, OrganizationName: &organization,
		InternalID: apikey.InternalID(apikey.NewID("int_")), OrganizationID: &organizationID, CreatedAt: &now, UpdatedAt: &now,
	}
	slices.SortFunc(existing, func(a, b apikey.Namespace) int {
		return cmp.Or(cmp.Compare(a.InternalID, b.InternalID), cmp.Compare(a.ID, b.ID))
	})
	if len(existing) > 0 {
		ns.InternalID, ns.OrganizationID = existing[0].InternalID, existing[0].OrganizationID
	}
	for _, e := range existing {
		if e.InternalID == ns.InternalID && e.Name == name {
			return e, false
		}
	}
	return ns, true
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
