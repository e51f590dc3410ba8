package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/web"
)

// The keys commands: the Service for somebody at a terminal, on the store itself.

// desk is where an operator works: a namespace of the store.
type desk struct {
	engine    store.Engine
	service   *apikey.Service
	caller    apikey.Caller
	namespace *apikey.Namespace
}

// atDesk runs a command in the namespace that is named on the command line.
func (p *program) atDesk(ctx context.Context, f func(context.Context, desk) error) error {
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		found, err := engine.NamespacesCalled(ctx, p.cfg.Namespace)
		if err != nil {
			return err
		}
		ns, err := theNamespace(found, p.cfg.Namespace)
		if err != nil {
			return err
		}
		return inFlags(f(ctx, desk{
			engine: engine, service: &apikey.Service{Store: engine}, caller: apikey.NewOperator(operator(), *ns), namespace: ns,
		}))
	})
}

// onStore is withStore where there is a store.
func (p *program) onStore(ctx context.Context, f func(context.Context, store.Engine) error) error {
	if err := p.mustExist(); err != nil {
		return err
	}
	return p.withStore(ctx, f)
}

// flags are how the command line calls the settings of a key.
var flags = map[string]string{
	"name": "--name", "description": "--description", "expiresAt": "--expires-at", "allowedOrigins": "--origin",
	"rateLimitOverride": "--rate-limit", "overlapSeconds": "--overlap",
}

// inFlags names what is wrong as it was written.
func inFlags(err error) error {
	if e, ok := errors.AsType[*apikey.Error](err); ok && flags[e.Field] != "" {
		return errors.New(strings.ReplaceAll(e.Message, e.Field, flags[e.Field]))
	}
	return err
}

// theNamespace chooses among those with that id or name; ids win. A name that several organizations use is refused:
// nobody can tell whose keys are meant.
func theNamespace(found []apikey.Namespace, ref string) (*apikey.Namespace, error) {
	if byID := slices.DeleteFunc(slices.Clone(found), func(n apikey.Namespace) bool { return string(n.ID) != ref }); len(byID) > 0 {
		found = byID
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no namespace %q", ref)
	}
	slices.SortFunc(found, func(a, b apikey.Namespace) int { return cmp.Compare(a.ID, b.ID) })
	if slices.ContainsFunc(found, func(n apikey.Namespace) bool { return n.InternalID != found[0].InternalID }) {
		var choices []string
		for _, n := range found {
			choices = append(choices, fmt.Sprintf("%s (%s)", n.ID, cmp.Or(value(n.OrganizationName), string(n.InternalID))))
		}
		return nil, fmt.Errorf("several organizations have a namespace %q: name it by its id, one of %s", ref, strings.Join(choices, ", "))
	}
	return &found[0], nil
}

// operator is the name that the system knows its user by; where it knows none, the number. What the environment says does
// not count: anybody could be somebody else.
func operator() string {
	if name := systemUser(); name != "" {
		return name
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

// listed is a key and the retriever in whose list it was found.
type listed struct {
	apikey.Key
	retriever string
}

func (p *program) listKeys(ctx context.Context) error {
	return p.atDesk(ctx, func(ctx context.Context, d desk) error {
		var keys []listed
		var err error
		if p.cfg.Keys.Retriever != "" {
			var r *apikey.Retriever
			if r, err = d.service.Retriever(ctx, d.caller, string(d.namespace.ID), p.cfg.Keys.Retriever); err == nil {
				keys, err = p.keysOf(ctx, d, r, p.cfg.Keys.IncludeRevoked)
			}
		} else {
			keys, err = p.searchNamespace(ctx, d)
		}
		if err != nil {
			return err
		}
		if p.cfg.Keys.JSON {
			items := make([]web.Key, len(keys))
			for i := range keys {
				items[i] = web.Key{Of: &keys[i].Key}
			}
			return p.writeJSON(map[string]any{"results": items, "total": len(items)})
		}
		return p.writeTable(keys)
	})
}

// keysOf reads all keys of a retriever, or those that a search is for.
func (p *program) keysOf(ctx context.Context, d desk, r *apikey.Retriever, includeRevoked bool) ([]listed, error) {
	reader, err := d.service.ReadKeys(d.caller, r, includeRevoked, p.cfg.Keys.Search)
	if err != nil {
		return nil, err
	}
	var keys []listed
	for {
		page, err := reader.Next(ctx)
		if err != nil || len(page) == 0 {
			return keys, err
		}
		for _, k := range page {
			keys = append(keys, listed{k, r.Name})
		}
	}
}

// searchNamespace looks for keys in all states, of all retrievers of the namespace, each key once.
func (p *program) searchNamespace(ctx context.Context, d desk) ([]listed, error) {
	var keys []listed
	seen := map[apikey.ID]bool{}
	first, page := apikey.MaxPage, apikey.Page{}
	page.First = &first
	for {
		rs, err := d.service.RetrieversIn(ctx, d.caller, d.namespace, page, "", apikey.Wants{Items: true, HasNext: true})
		if err != nil {
			return nil, err
		}
		for i := range rs.Items {
			found, err := p.keysOf(ctx, d, &rs.Items[i], true)
			if err != nil {
				return nil, err
			}
			for _, k := range found {
				if !seen[k.ID] {
					seen[k.ID] = true
					keys = append(keys, k)
				}
			}
		}
		if !rs.HasNextPage {
			return keys, nil
		}
		end := rs.Cursor(len(rs.Items) - 1)
		page.After = &end
	}
}

func (p *program) createKey(ctx context.Context) error {
	return p.atDesk(ctx, func(ctx context.Context, d desk) error {
		a := p.cfg.Keys
		made, err := d.service.Create(ctx, d.caller, string(d.namespace.ID), a.Retriever, apikey.Settings{
			Name: apikey.Given(&a.Name), Description: apikey.Given(&a.Description), ExpiresAt: apikey.Given(a.ExpiresAt),
			AllowedOrigins: apikey.Given(&a.Origins), RateLimitOverride: apikey.Given(a.RateLimit),
		})
		if err != nil {
			return err
		}
		return p.writeMinted(made, nil)
	})
}

func (p *program) rotateKey(ctx context.Context) error {
	return p.atDesk(ctx, func(ctx context.Context, d desk) error {
		r, err := d.service.Rotate(ctx, d.caller, string(d.namespace.ID), apikey.ID(p.cfg.Operands[0]), p.cfg.Keys.Overlap)
		if err != nil {
			return err
		}
		return p.writeMinted(&r.Minted, &r.Previous)
	})
}

// writeMinted shows a new key and its plaintext, and what became of the one whose place it took.
func (p *program) writeMinted(m *apikey.Minted, previous *apikey.Key) error {
	if p.cfg.Keys.JSON {
		return p.writeJSON(web.Key{Of: &m.Key, Secret: &m.Secret, Previous: previous})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Key      %s  %s\n", m.Key.ID, printable(m.Key.Name))
	fmt.Fprintf(&b, "  Secret   %s\n", m.Secret.Reveal())
	if previous != nil {
		fmt.Fprintf(&b, "  Instead of %s, which %s\n", printable(string(previous.ID)), fate(previous))
	}
	b.WriteString("\n  The secret is shown this once: keep it where you keep secrets.\n")
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// fate says what is to become of a key.
func fate(k *apikey.Key) string {
	switch {
	case k.Status == apikey.Revoked:
		return "is revoked"
	case k.ExpiresAt != nil:
		return "works until " + k.ExpiresAt.Format(time.RFC3339)
	default:
		return "works on"
	}
}

func (p *program) revokeKey(ctx context.Context) error {
	return p.atDesk(ctx, func(ctx context.Context, d desk) error {
		id := apikey.ID(p.cfg.Operands[0])
		if !p.cfg.Keys.Yes {
			found, err := d.engine.CurrentKeys(ctx, d.namespace.InternalID, id)
			if err != nil {
				return err
			}
			if len(found) > 0 {
				if err := p.confirm(&found[0]); err != nil {
					return err
				}
			}
		}
		k, err := d.service.Revoke(ctx, d.caller, string(d.namespace.ID), id)
		if err != nil {
			return err
		}
		if p.cfg.Keys.JSON {
			return p.writeJSON(web.Key{Of: k})
		}
		_, err = fmt.Fprintf(p.stdout, "%s %q is revoked since %s, by %s.\n", printable(string(k.ID)), printable(k.Name), dated(k.RevokedAt), cmp.Or(printable(value(k.RevokedBy)), "somebody unknown"))
		if err == nil && k.RotatedTo != nil {
			_, err = fmt.Fprintf(p.stdout, "It was rotated before: %s took its place and is not revoked with it.\n", printable(string(*k.RotatedTo)))
		}
		return err
	})
}

// confirm asks whether the key is to be revoked.
func (p *program) confirm(k *apikey.Key) error {
	used := "never used"
	if k.LastUsedAt != nil {
		used = "last used " + dated(k.LastUsedAt)
	}
	_, err := fmt.Fprintf(p.stderr, "%s %q (%s), made %s by %s, %s.\nRevoke it? It cannot be undone. [y/N] ",
		printable(string(k.ID)), printable(k.Name), cmp.Or(printable(value(k.Prefix)), "no prefix"), dated(k.CreatedAt),
		cmp.Or(printable(value(k.CreatedBy)), "somebody unknown"), used)
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was revoked")
	}
	return nil
}

// leak is a plaintext key in a file, and what the store knows of it.
type leak struct {
	File      string             `json:"file"`
	Line      int                `json:"line"`
	Prefix    string             `json:"key_prefix"`
	Status    string             `json:"status"` // "unknown" where the store has no such key
	KeyID     apikey.ID          `json:"key_id,omitempty"`
	Name      string             `json:"name,omitempty"`
	Namespace apikey.NamespaceID `json:"namespace_id,omitempty"`
	Retriever apikey.RetrieverID `json:"retriever_id,omitempty"`
}

func (p *program) scanFiles(ctx context.Context) error {
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		leaks := []leak{}
		var failed []error
		known := map[string]leak{}
		for _, file := range p.cfg.Operands {
			err := p.scanFile(file, func(s apikey.Secret, line int) error {
				l, asked := known[s.Hash()]
				if !asked {
					var err error
					if l, err = lookUp(ctx, engine, s); err != nil {
						return err
					}
					known[s.Hash()] = l
				}
				l.File, l.Line = file, line
				leaks = append(leaks, l)
				return nil
			})
			failed = append(failed, err)
		}
		return errors.Join(append(failed, p.writeLeaks(leaks))...)
	})
}

// scanFile calls found for each key in the file, up to its first error.
func (p *program) scanFile(name string, found func(apikey.Secret, int) error) error {
	r := p.stdin
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the operator names it
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // nothing was written
		r = f
	}
	var failed error
	err := apikey.FindSecrets(r, func(s apikey.Secret, line int) {
		if failed == nil {
			failed = found(s, line)
		}
	})
	return errors.Join(err, failed)
}

// lookUp asks the store what it knows of a plaintext.
func lookUp(ctx context.Context, engine store.Engine, s apikey.Secret) (leak, error) {
	l := leak{Prefix: s.Prefix(), Status: "unknown"}
	keys, err := engine.KeysByHash(ctx, s.Hash())
	if err != nil || len(keys) == 0 {
		return l, err
	}
	k := &keys[0]
	l.Status, l.KeyID, l.Name = string(k.StatusAt(time.Now())), k.ID, k.Name
	rs, err := engine.Retrievers(ctx, k.InternalID, k.Retrievers())
	if err == nil && len(rs) > 0 {
		l.Namespace, l.Retriever = rs[0].NamespaceID, rs[0].ID
	}
	return l, err
}

func (p *program) writeLeaks(leaks []leak) error {
	if p.cfg.Keys.JSON {
		return p.writeJSON(map[string]any{"results": leaks, "total": len(leaks)})
	}
	rows := [][]string{{"WHERE", "PREFIX", "STATUS", "KEY ID", "NAME", "NAMESPACE", "RETRIEVER"}}
	alive := 0
	for _, l := range leaks {
		rows = append(rows, []string{l.File + ":" + strconv.Itoa(l.Line), l.Prefix, strings.ToUpper(l.Status), string(l.KeyID), l.Name, string(l.Namespace), string(l.Retriever)})
		if l.Status == string(apikey.Active) {
			alive++
		}
	}
	if len(leaks) > 0 {
		if err := p.table(rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.stdout, "%s found, %d of them alive.\n", counted(len(leaks), "key"), alive)
	return err
}

func (p *program) writeTable(keys []listed) error {
	rows := [][]string{{"KEY ID", "PREFIX", "STATUS", "NAME", "RETRIEVER", "CREATED", "CREATED BY", "LAST USED", "EXPIRES"}}
	for _, k := range keys {
		rows = append(rows, []string{
			string(k.ID), value(k.Prefix), strings.ToUpper(string(k.Status)), k.Name, k.retriever, dated(k.CreatedAt), value(k.CreatedBy),
			cmp.Or(dated(k.LastUsedAt), "never"), cmp.Or(dated(k.ExpiresAt), "never"),
		})
	}
	if len(keys) > 0 {
		if err := p.table(rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.stdout, "%s.\n", counted(len(keys), "key"))
	return err
}

// table writes rows in columns.
func (p *program) table(rows [][]string) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = cmp.Or(printable(row[i]), "-")
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (p *program) writeJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printable replaces what could change a terminal's state, or what is seen of the rest of the line.
func printable(s string) string { return printableBut(s, "") }

func printableBut(s, allowed string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !strings.ContainsRune(allowed, r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func dated(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
