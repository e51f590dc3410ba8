package program

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

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
		ns, err := p.namespace(ctx, engine)
		if err != nil {
			return err
		}
		return inFlags(f(ctx, newDesk(engine, ns)))
	})
}

func newDesk(engine store.Engine, ns *apikey.Namespace) desk {
	return desk{engine: engine, service: &apikey.Service{Store: engine}, caller: apikey.NewOperator(operator(), *ns), namespace: ns}
}

// namespace finds the namespace that is named on the command line.
func (p *program) namespace(ctx context.Context, engine store.Engine) (*apikey.Namespace, error) {
	found, err := engine.NamespacesCalled(ctx, p.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	return theNamespace(found, p.cfg.Namespace)
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
		return nil, fmt.Errorf("there is no namespace \"%s\"", ref)
	}
	slices.SortFunc(found, func(a, b apikey.Namespace) int { return cmp.Compare(a.ID, b.ID) })
	if slices.ContainsFunc(found, func(n apikey.Namespace) bool { return n.InternalID != found[0].InternalID }) {
		var choices []string
		for _, n := range found {
			choices = append(choices, fmt.Sprintf("%s (%s)", n.ID, organization(&n)))
		}
		return nil, fmt.Errorf("several organizations have a namespace \"%s\": name it by its id, one of %s", ref, strings.Join(choices, ", "))
	}
	return &found[0], nil
}

// organization is what people call the namespace's organization by.
func organization(n *apikey.Namespace) string {
	return cmp.Or(value(n.OrganizationName), string(n.InternalID))
}

// operator is the name that the system knows its user by; where it knows none, the number. What the environment says does
// not count: anybody could be somebody else.
func operator() string {
	if name := systemUser(); name != "" {
		return name
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

func (p *program) listKeys(ctx context.Context) error {
	search, err := p.search()
	if err != nil {
		return err
	}
	return p.atDesk(ctx, func(ctx context.Context, d desk) error {
		out := p.listing("key", "KEY ID", "PREFIX", "STATUS", "NAME", "RETRIEVER", "CREATED", "CREATED BY", "LAST USED", "EXPIRES")
		add := func(k *apikey.Key, r *apikey.Retriever) error {
			return out.add(web.Key{Of: k}, func() []string {
				return []string{
					string(k.ID), value(k.Prefix), strings.ToUpper(string(k.Status)), k.Name, r.Name, dated(k.CreatedAt), value(k.CreatedBy),
					cmp.Or(dated(k.LastUsedAt), "never"), cmp.Or(dated(k.ExpiresAt), "never"),
				}
			})
		}
		if p.cfg.Keys.Retriever != "" {
			r, err := d.service.Retriever(ctx, d.caller, string(d.namespace.ID), p.cfg.Keys.Retriever)
			if err != nil {
				return err
			}
			err = keysOf(ctx, d, r, p.cfg.Keys.IncludeRevoked, search, add)
			if err != nil {
				return err
			}
		} else if err := keysOfNamespace(ctx, d, p.cfg.Keys.IncludeRevoked || search != "", search, add); err != nil { // who looks for a key must not be told that there is none because it is revoked
			return err
		}
		if out.n == 0 && !p.cfg.JSON && apikey.HideKeys(search) != search {
			_, _ = fmt.Fprintln(p.stderr, "retrieverkeys keys scan - reads a key from standard input and looks for it in all organizations, and among their own keys too.")
		}
		return out.end()
	})
}

// search is the text to search for, read from the standard input where the command line says so.
func (p *program) search() (string, error) {
	if p.cfg.Keys.Search != "-" {
		return p.cfg.Keys.Search, nil
	}
	if isTerminal(p.stdin) {
		_, _ = fmt.Fprint(p.stderr, "Search for: ")
	}
	line, err := p.line()
	if err == nil && line == "" {
		err = errors.New("--search - needs a text on standard input")
	}
	return line, err
}

// line reads one line of the standard input.
func (p *program) line() (string, error) {
	line, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// keysOf calls f with all keys of a retriever, or with those that a search is for, up to the first error.
func keysOf(ctx context.Context, d desk, r *apikey.Retriever, includeRevoked bool, search string, f func(*apikey.Key, *apikey.Retriever) error) error {
	reader, err := d.service.ReadKeys(d.caller, r, includeRevoked, search)
	if err != nil {
		return err
	}
	for {
		page, err := reader.Next(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			if err := f(&page[i], r); err != nil {
				return err
			}
		}
	}
}

// keysOfNamespace calls f with the keys of all retrievers of the namespace, each key once, up to the first error.
func keysOfNamespace(ctx context.Context, d desk, includeRevoked bool, search string, f func(*apikey.Key, *apikey.Retriever) error) error {
	seen := map[apikey.ID]bool{} // of the keys of several retrievers, which alone are read more than once
	return eachRetriever(ctx, d, func(r *apikey.Retriever) error {
		return keysOf(ctx, d, r, includeRevoked, search, func(k *apikey.Key, r *apikey.Retriever) error {
			if len(k.Retrievers()) > 1 {
				if seen[k.ID] {
					return nil
				}
				seen[apikey.ID(strings.Clone(string(k.ID)))] = true
			}
			return f(k, r)
		})
	})
}

// eachRetriever calls f with all retrievers of the desk's namespace, by name, up to the first error.
func eachRetriever(ctx context.Context, d desk, f func(*apikey.Retriever) error) error {
	first, page := apikey.MaxPage, apikey.Page{}
	page.First = &first
	for {
		rs, err := d.service.RetrieversIn(ctx, d.caller, d.namespace, page, "", apikey.Wants{Items: true, HasNext: true})
		if err != nil {
			return err
		}
		for i := range rs.Items {
			if err := f(&rs.Items[i]); err != nil {
				return err
			}
		}
		if !rs.HasNextPage {
			return nil
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
	if p.cfg.JSON {
		return unseen(m.Key.ID, p.writeJSON(web.Key{Of: &m.Key, Secret: &m.Secret, Previous: previous}))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Key      %s  %s\n", m.Key.ID, printable(m.Key.Name))
	fmt.Fprintf(&b, "  Secret   %s\n", m.Secret.Reveal())
	if previous != nil {
		fmt.Fprintf(&b, "  Instead of %s, which %s\n", printable(string(previous.ID)), fate(previous))
	}
	b.WriteString("\n  The secret is shown this once: keep it where you keep secrets.\n")
	_, err := io.WriteString(p.stdout, b.String())
	return unseen(m.Key.ID, err)
}

// unseen says of a key that was made and could not be shown that nobody will see its plaintext.
func unseen(id apikey.ID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the key %s was made, but its plaintext could not be shown and is lost: revoke it and make another (%v)", id, err) //nolint:errorlint // not the end of the output that is no failure
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
	id := apikey.ID(p.cfg.Operands[0])
	if hidden := apikey.HideKeys(string(id)); hidden != string(id) {
		return fmt.Errorf("%s is a key, not the id of one: retrieverkeys keys scan - reads it from standard input and tells its id. Your shell may have kept it in its history", hidden)
	}
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		found, in, err := p.keyToRevoke(ctx, engine, id)
		if err != nil {
			return err
		}
		if found != nil && !p.cfg.Keys.Yes {
			if err := p.confirm(found); err != nil {
				return err
			}
		}
		d := newDesk(engine, in)
		k, err := d.service.Revoke(ctx, d.caller, string(in.ID), id)
		if err != nil {
			return err
		}
		if p.cfg.JSON {
			return p.writeJSON(web.Key{Of: k})
		}
		_, err = fmt.Fprintf(p.stdout, "%s \"%s\" is revoked since %s, by %s.\n", printable(string(k.ID)), printable(k.Name), dated(k.RevokedAt), cmp.Or(printable(value(k.RevokedBy)), "somebody unknown"))
		if err == nil && k.RotatedTo != nil {
			_, err = fmt.Fprintf(p.stdout, "It was rotated before: %s took its place and is not revoked with it.\n", printable(string(*k.RotatedTo)))
		}
		return err
	})
}

// keyToRevoke finds the key, nil where there is none, and the namespace to revoke it in: where none is named, one without a name
// that stands for the key's organization.
func (p *program) keyToRevoke(ctx context.Context, engine store.Engine, id apikey.ID) (*apikey.Key, *apikey.Namespace, error) {
	if p.cfg.Namespace != "" {
		ns, err := p.namespace(ctx, engine)
		if err != nil {
			return nil, nil, err
		}
		keys, err := engine.CurrentKeys(ctx, ns.InternalID, id)
		if err != nil || len(keys) == 0 {
			return nil, ns, err
		}
		return &keys[0], ns, nil
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	keys, err := engine.KeysWithID(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("there is no key \"%s\" in the store", id)
	}
	if len(keys) > 1 {
		registry, err := newRegistry(ctx, engine)
		if err != nil {
			return nil, nil, err
		}
		several := []error{fmt.Errorf("several organizations have a key \"%s\": say which is meant", id)}
		slices.SortFunc(keys, func(a, b apikey.Key) int { return cmp.Compare(a.InternalID, b.InternalID) })
		for i := range keys {
			several = append(several, detail(fmt.Sprintf("  %s   \"%s\" of %s", registry.revocation(&keys[i], true), keys[i].Name, registry.organization(&keys[i]))))
		}
		return nil, nil, errors.Join(several...)
	}
	return &keys[0], &apikey.Namespace{InternalID: keys[0].InternalID, OrganizationID: keys[0].OrganizationID}, nil
}

// searchTimeout bounds what looks at all keys or all organizations of a store.
const searchTimeout = 10 * time.Minute

// registry has the namespaces of all organizations, for what is to be said of a key of whichever.
type registry struct {
	engine store.Engine
	of     map[apikey.InternalID][]apikey.Namespace // by id
}

func newRegistry(ctx context.Context, engine store.Engine) (registry, error) {
	r := registry{engine, map[apikey.InternalID][]apikey.Namespace{}}
	all, err := engine.AllNamespaces(ctx)
	slices.SortFunc(all, func(a, b apikey.Namespace) int { return cmp.Compare(a.ID, b.ID) })
	for _, n := range all {
		r.of[n.InternalID] = append(r.of[n.InternalID], n)
	}
	return r, err
}

// organization is what people call the key's organization by.
func (r registry) organization(k *apikey.Key) string {
	id := cmp.Or(value(k.OrganizationID), string(k.InternalID))
	for _, n := range r.of[k.InternalID] {
		if n.OrganizationName != nil {
			return fmt.Sprintf("%s (%s)", *n.OrganizationName, id)
		}
	}
	return id
}

// revocation is the command that revokes the key, with a namespace of its organization where its id alone does not tell it.
func (r registry) revocation(k *apikey.Key, ambiguous bool) string {
	words := []string{"retrieverkeys", "keys", "revoke"}
	if in := r.of[k.InternalID]; ambiguous && len(in) > 0 {
		words = append(words, "--namespace", quoted(r.reference(&in[0])))
	}
	if strings.HasPrefix(string(k.ID), "-") {
		words = append(words, "--")
	}
	return strings.Join(append(words, quoted(string(k.ID))), " ")
}

// reference is the namespace's id, or, where several organizations use that, its name, unless they use that too.
func (r registry) reference(n *apikey.Namespace) string {
	for tenant, others := range r.of {
		if tenant != n.InternalID && slices.ContainsFunc(others, func(o apikey.Namespace) bool { return o.ID == n.ID }) {
			return n.Name
		}
	}
	return string(n.ID)
}

// quoted is the word as a shell reads it.
func quoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// confirm asks whether the key is to be revoked.
func (p *program) confirm(k *apikey.Key) error {
	used := "never used"
	if k.LastUsedAt != nil {
		used = "last used " + dated(k.LastUsedAt)
	}
	_, err := fmt.Fprintf(p.stderr, "%s \"%s\" (%s), made %s by %s, %s.\nRevoke it? It cannot be undone. [y/N] ",
		printable(string(k.ID)), printable(k.Name), cmp.Or(printable(value(k.Prefix)), "no prefix"), cmp.Or(dated(k.CreatedAt), "at an unknown time"),
		cmp.Or(printable(value(k.CreatedBy)), "somebody unknown"), used)
	if err != nil {
		return err
	}
	line, err := p.line()
	if err != nil {
		return err
	}
	if answer := strings.ToLower(line); answer != "y" && answer != "yes" {
		return errors.New("nothing was revoked")
	}
	return nil
}
