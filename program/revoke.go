package program

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/web"
)

func (c *command) revokeKeys(ctx context.Context) error {
	ids, err := c.keyIDs()
	if err != nil {
		return err
	}
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error { return c.revoke(ctx, engine, ids) })
}

func (c *command) revoke(ctx context.Context, engine store.Engine, ids []apikey.ID) error {
	found, err := c.keysToRevoke(ctx, engine, ids)
	if err != nil {
		return err
	}
	if found.count > 0 && !c.cfg.Keys.Yes && !c.cfg.Keys.DryRun {
		if err := c.confirm(found); err != nil {
			return err
		}
	}
	r := revocation{command: c, among: make(map[apikey.ID]bool, len(ids))}
	for _, id := range ids {
		r.among[id] = true
	}
	if len(ids) > 1 || c.cfg.JSON && c.cfg.Keys.DryRun {
		r.out = c.listing("key", "KEY ID", "OUTCOME", "NAME")
	}
	for _, step := range found.steps() {
		if err := r.run(ctx, engine, step); err != nil {
			return r.end(ctx, err)
		}
	}
	return r.end(ctx, nil)
}

// keyIDs returns the ids that the arguments name, each once. The argument - stands for those on standard input.
func (c *command) keyIDs() ([]apikey.ID, error) {
	var ids []apikey.ID
	seen := map[string]bool{}
	add := func(id, hint string) error {
		if hidden := apikey.HideKeys(id); hidden != id {
			return errors.Join(
				fmt.Errorf("%s is an API key, not a key id", hidden),
				detail("  To find its id, pass it on standard input to: retrieverkeys keys scan -"),
				detail(hint),
			)
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, apikey.ID(id))
		}
		return nil
	}
	for _, operand := range c.cfg.Operands {
		if operand != "-" {
			if err := add(operand, "  Your shell may have saved the key in its history."); err != nil {
				return nil, err
			}
			continue
		}
		words := bufio.NewScanner(c.stdin)
		words.Split(bufio.ScanWords)
		mark := byteOrderMark
		for words.Scan() {
			id := strings.TrimPrefix(words.Text(), mark)
			if mark = ""; id == "" { // a line with only the mark
				continue
			}
			if err := add(id, "  Nothing was revoked."); err != nil {
				return nil, err
			}
		}
		if err := words.Err(); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		if len(ids) == 0 {
			return nil, errors.New("keys revoke - needs key ids on standard input")
		}
	}
	return ids, nil
}

// toRevoke are keys to revoke.
type toRevoke struct {
	in    []*apikey.Namespace // for each id, a namespace that stands for its organization; nil if no organization has the id
	ids   []apikey.ID
	first []apikey.Key // some that exist
	count int          // how many exist
}

// mostShown is how many keys the confirmation shows.
const mostShown = 20

// keysToRevoke finds the keys: in the organization that --namespace or --organization names or, without these, in the whole store. It
// returns an error if several organizations have the same id.
func (c *command) keysToRevoke(ctx context.Context, engine store.Engine, ids []apikey.ID) (*toRevoke, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	var given *apikey.Namespace
	if c.cfg.Namespace != "" || c.cfg.Organization != "" {
		in, err := c.places(ctx, engine)
		if err != nil {
			return nil, err
		}
		given = &in[0]
	}
	found := &toRevoke{ids: ids}
	tenants := map[apikey.InternalID]*apikey.Namespace{}
	var ambiguous []apikey.Key
	for chunk := range slices.Chunk(ids, apikey.MaxRevoked) {
		var keys []apikey.Key
		var err error
		if given != nil {
			keys, err = engine.CurrentKeys(ctx, given.InternalID, chunk...)
		} else {
			keys, err = engine.KeysWithID(ctx, chunk...)
		}
		if err != nil {
			return nil, err
		}
		named := map[apikey.ID][]apikey.Key{}
		for i := range keys {
			named[keys[i].ID] = append(named[keys[i].ID], keys[i])
		}
		for _, id := range chunk {
			in := given
			if same := named[id]; len(same) > 0 {
				k := &same[0]
				if slices.ContainsFunc(same, func(other apikey.Key) bool { return other.InternalID != k.InternalID }) {
					ambiguous = append(ambiguous, same...)
				}
				if found.count++; len(found.first) < mostShown {
					found.first = append(found.first, *k)
				}
				if in == nil {
					if tenants[k.InternalID] == nil {
						tenants[k.InternalID] = &apikey.Namespace{InternalID: k.InternalID, OrganizationID: k.OrganizationID}
					}
					in = tenants[k.InternalID]
				}
			}
			found.in = append(found.in, in)
		}
	}
	if len(ambiguous) > 0 {
		return nil, severalPlaces(ctx, engine, ambiguous)
	}
	return found, nil
}

// severalPlaces is the error if several organizations have the same ids. It prints a command for each of the keys.
func severalPlaces(ctx context.Context, engine store.Engine, keys []apikey.Key) error {
	registry, err := newRegistry(ctx, engine)
	if err != nil {
		return err
	}
	slices.SortStableFunc(keys, func(a, b apikey.Key) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.InternalID, b.InternalID))
	})
	var several []error
	for i := range keys {
		k := &keys[i]
		if i == 0 || keys[i-1].ID != k.ID {
			several = append(several, fmt.Errorf("several organizations have a key \"%s\": choose one of these commands", k.ID))
		}
		several = append(several, detail(fmt.Sprintf("  %s   \"%s\" of %s", registry.revocation(k, true), k.Name, registry.organization(k))))
	}
	return errors.Join(append(several, detail("Nothing was revoked."))...)
}

// steps returns the keys in order, in parts that one call can revoke.
func (t *toRevoke) steps() []toRevoke {
	var steps []toRevoke
	for i, id := range t.ids {
		last := len(steps) - 1
		if last < 0 || steps[last].in[0] != t.in[i] || len(steps[last].ids) == apikey.MaxRevoked {
			steps, last = append(steps, toRevoke{in: t.in[i : i+1]}), last+1
		}
		steps[last].ids = append(steps[last].ids, id)
	}
	return steps
}

// confirm asks whether to revoke the keys. It returns an error unless the answer is yes.
func (c *command) confirm(found *toRevoke) error {
	var b strings.Builder
	for i := range found.first {
		k := &found.first[i]
		used := "never used"
		if k.LastUsedAt != nil {
			used = "last used " + dated(k.LastUsedAt)
		}
		fmt.Fprintf(&b, "%s \"%s\" (%s)\ncreated %s by %s, %s\n", printable(string(k.ID)), printable(k.Name), cmp.Or(printable(orEmpty(k.Prefix)), "no prefix"),
			cmp.Or(dated(k.CreatedAt), "at an unknown time"), cmp.Or(printable(orEmpty(k.CreatedBy)), "an unknown user"), used)
	}
	if more := found.count - len(found.first); more > 0 {
		fmt.Fprintf(&b, "and %s\n", counted(more, "more key"))
	}
	these := "this key"
	if found.count > 1 {
		these = fmt.Sprintf("these %d keys", found.count)
	}
	if _, err := fmt.Fprintf(c.stderr, "%sRevoke %s? This cannot be undone. [y/N] ", b.String(), these); err != nil {
		return err
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	if answer := strings.ToLower(line); answer != "y" && answer != "yes" {
		return errors.New("nothing was revoked")
	}
	return nil
}

// revocation prints what happens to keys while they are revoked.
type revocation struct {
	*command
	out        *listing           // nil for one key, which gets a sentence, or is printed as JSON
	among      map[apikey.ID]bool // the keys
	done       int                // how many need no other run
	refused    []error            // why keys were not revoked
	successors []string           // sentences
}

// run revokes the keys of one step. It returns an error if the keys that are left cannot be tried.
func (r *revocation) run(ctx context.Context, engine store.Engine, step toRevoke) error {
	if step.in[0] == nil {
		for _, id := range step.ids {
			err := fmt.Errorf("there is no key \"%s\" in the store", id)
			if err := r.refuse(apikey.RevokeResult{ID: id, Outcome: apikey.OutcomeNotFound}, err, err.Error()); err != nil {
				return err
			}
		}
		return nil
	}
	w := newWorkspace(engine, step.in[0])
	results, err := w.service.RevokeMany(ctx, w.caller, step.ids, r.cfg.Keys.Reason, r.cfg.Keys.DryRun)
	if err != nil {
		return err
	}
	for _, result := range results {
		if err := r.add(result); err != nil {
			return err
		}
	}
	return nil
}

func (r *revocation) add(result apikey.RevokeResult) error {
	if result.Err != nil {
		e := apikey.Classify(result.Err)
		if e.Code == apikey.Unavailable {
			return result.Err
		}
		return r.refuse(result, fmt.Errorf("%s: %w", result.ID, result.Err), withoutStop(e.Message))
	}
	r.done++
	k := result.Key
	if next := k.RotatedTo; next != nil && !r.cfg.Keys.DryRun && !r.among[*next] {
		r.successors = append(r.successors, fmt.Sprintf("%s: its successor %s was not revoked.\n", printable(string(k.ID)), printable(string(*next))))
	}
	return r.print(result, nil)
}

// refuse adds a key that cannot be revoked.
func (r *revocation) refuse(result apikey.RevokeResult, why error, message string) error {
	r.done++
	r.refused = append(r.refused, why)
	if r.out == nil {
		return nil
	}
	return r.print(result, &message)
}

// revokeItem is a result in JSON.
type revokeItem struct {
	KeyID   apikey.ID            `json:"key_id"`
	Outcome apikey.RevokeOutcome `json:"outcome"`
	Message *string              `json:"message"`
	Key     *web.Key             `json:"key"`
}

func (r *revocation) print(result apikey.RevokeResult, message *string) error {
	k := result.Key
	switch {
	case r.out != nil:
		item := revokeItem{KeyID: result.ID, Outcome: result.Outcome, Message: message}
		var name string
		if k != nil {
			item.Key, name = &web.Key{Of: k}, k.Name
		}
		return r.out.add(item, func() []string { return []string{string(result.ID), string(result.Outcome), name} })
	case r.cfg.JSON:
		return r.writeJSON(web.Key{Of: k})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s \"%s\" ", printable(string(k.ID)), printable(k.Name))
	if result.Outcome == apikey.OutcomeWouldRevoke {
		b.WriteString("would be revoked.\n")
	} else {
		fmt.Fprintf(&b, "was revoked at %s by %s.\n", dated(k.RevokedAt), cmp.Or(printable(orEmpty(k.RevokedBy)), "an unknown user"))
		if k.RevokeReason != nil {
			fmt.Fprintf(&b, "Reason: %s\n", printable(*k.RevokeReason))
		}
	}
	_, err := r.stdout.Write([]byte(b.String()))
	return err
}

// end prints the rest and returns why keys were not revoked. stopped is why some were not tried; nil if all were.
func (r *revocation) end(ctx context.Context, stopped error) error {
	var errs []error
	if r.out != nil {
		errs = append(errs, r.out.end())
	}
	if !r.cfg.JSON {
		_, err := r.stdout.Write([]byte(strings.Join(r.successors, "")))
		errs = append(errs, err)
	}
	errs = append(errs, r.refused[:min(len(r.refused), mostShown)]...)
	if more := len(r.refused) - mostShown; more > 0 {
		errs = append(errs, detail(counted(more, "more key")+" could not be revoked."))
	}
	if stopped != nil && ctx.Err() != nil {
		stopped = errors.New("interrupted")
	}
	errs = append(errs, stopped)
	if left := len(r.among) - r.done; stopped != nil && r.done > 0 && left > 0 {
		errs = append(errs, detail(counted(left, "key")+" left. Run the command again to continue."))
	}
	return errors.Join(errs...)
}
