package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
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

// commandTimeout bounds each call of a command to the store.
const commandTimeout = 30 * time.Second

// withStore runs a command on the configured store.
func (p *program) withStore(ctx context.Context, f func(context.Context, store.Engine) error) (err error) {
	engine, prepare, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	preparing, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := prepare(preparing); err != nil {
		return err
	}
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
		_, err = fmt.Fprintf(p.stdout, "Stored %s; %d were there already and are left as they are.\n", counted(done.Stored, "document"), done.Existing)
		return err
	})
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
	if _, ok := errors.AsType[document.Problems](err); ok {
		return fmt.Errorf("%s was refused, and nothing of it stored:\n%w", file, err)
	}
	return fmt.Errorf("%s: %w", file, err)
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
		batch := document.Batch{Keys: []bson.Raw{document.FromKey(key)}}
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
		return err
	})
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
