package apikey

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Leak says that a key's plaintext became public. It is reported once and stays with the key.
type Leak struct {
	ReportedAt time.Time
	Source     *string // what kind of place, such as commit
	URL        *string // where
}

// Leak returns nil unless the key was reported as leaked.
func (k *Key) Leak() *Leak {
	if k.LeakedAt == nil {
		return nil
	}
	return &Leak{*k.LeakedAt, k.LeakSource, k.LeakURL}
}

// LeakReport reports that a key's plaintext was found where others can read it.
type LeakReport struct {
	Hash        string // SHA-256 of the plaintext in hexadecimal digits
	Source, URL *string
}

// LeakResult is what became of a report.
type LeakResult struct {
	Key *Key  // as it is now; nil if there is none, or if the caller does not see it
	Err error // why the report was not stored
}

// Revoked reports whether the key is revoked after the report.
func (r LeakResult) Revoked() bool { return r.Key != nil && r.Key.Status == Revoked }

// LeakAction is what a report does to an active key, in addition to knownLeak the leak.
type LeakAction string

// The actions.
const (
	RevokeLeaked LeakAction = "revoke"
	ReportLeaked LeakAction = "report" // nothing
)

const (
	// MaxLeaks is how many reports one call of ReportLeaks takes at most.
	MaxLeaks = 100
	// leaked is the reason of revocations that a report causes.
	leaked = "leaked"
	// Limits of what a report says, in characters.
	maxLeakURL    = 2048
	maxLeakSource = 100
)

// ReportLeaks notes that keys of the caller's organization leaked, and, unless the LeakAction is ReportLeaked, revokes those that are
// active. It requires Delete, and returns a result for each report, in the same order. Unknown hashes, and keys that the caller does not
// see, have an empty result. Repeating the call changes nothing.
//
// Each key is one conditional write, which carries its events. The caller's own key comes last, so that it can make the call again.
func (s *Service) ReportLeaks(ctx context.Context, c Caller, reports []LeakReport) ([]LeakResult, error) {
	if refused := c.authorizeChange(Delete); refused != nil {
		if !c.Known() {
			return nil, refused
		}
		return nil, s.denyOwn(ctx, c, refused, KeyLeakReported)
	}
	s.used(c)
	reports, err := readLeaks(reports)
	if err != nil {
		return nil, err
	}
	if _, err := s.ownKey(ctx, c); err != nil {
		return nil, err
	}
	ctx, cancel := leavingTime(ctx)
	defer cancel()
	keys, err := s.Store.CurrentKeysWithHashes(ctx, &c.Key.InternalID, hashesOf(reports))
	if err != nil {
		return nil, err
	}
	targets, err := s.seenAmong(ctx, c, pointers(keys))
	if err != nil {
		return nil, err
	}
	all := leaksOf(c, reports, targets)
	own := func(n *knownLeak) bool { return n.target.key.Hash == c.Key.Hash }
	for _, group := range []knownLeaks{slices.DeleteFunc(slices.Clone(all), own), slices.DeleteFunc(slices.Clone(all), func(n *knownLeak) bool { return !own(n) })} {
		_ = Together(ctx, len(group), func(ctx context.Context, i int) error {
			s.note(ctx, group[i])
			return nil // one that fails does not stop the others
		})
	}
	return all.results(reports), nil
}

// ReportPublicLeaks is ReportLeaks for the keys of all organizations, for a program that is trusted to find keys in public. from has its
// address. A report whose URL or source is not usable is stored without it. If the store fails, some reports may be stored: make the call
// again. An unknown hash costs the same as a known one until a key has to be written.
func (s *Service) ReportPublicLeaks(ctx context.Context, from Caller, reports []LeakReport) ([]LeakResult, error) {
	reports = slices.Clone(reports)
	for i := range reports {
		r := &reports[i]
		if r.URL != nil && checkLeakURL("url", *r.URL) != nil {
			r.URL = nil
		}
		if r.Source != nil {
			if _, err := printed("source", *r.Source, maxLeakSource); err != nil {
				r.Source = nil
			}
		}
	}
	keys, err := s.Store.CurrentKeysWithHashes(ctx, nil, hashesOf(reports))
	if err != nil {
		return nil, err
	}
	of := map[InternalID][]*Key{}
	for i := range keys {
		if tenant := keys[i].InternalID; tenant != "" { // others authenticate nobody
			of[tenant] = append(of[tenant], &keys[i])
		}
	}
	tenants := slices.Sorted(maps.Keys(of))
	each := make([]knownLeaks, len(tenants))
	err = Together(ctx, len(tenants), func(ctx context.Context, i int) error {
		c := from.asSystem(tenants[i])
		targets, err := s.seenAmong(ctx, c, of[tenants[i]])
		each[i] = leaksOf(c, reports, targets)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := slices.Concat(each...)
	err = Together(ctx, len(all), func(ctx context.Context, i int) error {
		s.note(ctx, all[i])
		return all[i].result.Err
	})
	if err != nil {
		return nil, err
	}
	return all.results(reports), nil
}

// asSystem is the server itself, acting on an organization because of a message from the caller's address.
func (c Caller) asSystem(tenant InternalID) Caller {
	return Caller{
		System: true, Address: c.Address, UserAgent: c.UserAgent,
		Key: &Key{Type: Standard, UserID: string(System), InternalID: tenant, Permissions: []Permission{Admin}, Stored: Active},
	}
}

// knownLeak is a report of one key.
type knownLeak struct {
	caller Caller
	report *LeakReport
	target *target
	result LeakResult
}

type knownLeaks []*knownLeak

// leaksOf pairs each key with the first report of its hash. If several documents have a hash, each of them is noted, because it works once
// the others are gone.
func leaksOf(c Caller, reports []LeakReport, targets []*target) knownLeaks {
	first := make(map[string]*LeakReport, len(reports))
	for i := range reports {
		if r := &reports[i]; first[r.Hash] == nil {
			first[r.Hash] = r
		}
	}
	all := make(knownLeaks, len(targets))
	for i, t := range targets {
		all[i] = &knownLeak{caller: c, report: first[t.key.Hash], target: t}
	}
	return all
}

// results returns the result of each report. If several documents have the hash, it is one that failed, if any.
func (all knownLeaks) results(reports []LeakReport) []LeakResult {
	of := make(map[string]LeakResult, len(all))
	for _, n := range all {
		if seen, several := of[n.target.key.Hash]; !several || seen.Err == nil && n.result.Err != nil {
			of[n.target.key.Hash] = n.result
		}
	}
	results := make([]LeakResult, len(reports))
	for i, r := range reports {
		results[i] = of[r.Hash]
	}
	return results
}

// note stores a report and sets its result. If another change of the key wins, it decides again.
func (s *Service) note(ctx context.Context, n *knownLeak) {
	n.result = LeakResult{Err: errLost}
	for range manyTries {
		if err := ctx.Err(); err != nil {
			n.result = LeakResult{Err: Outage(err)}
			return
		}
		key, won, err := s.tryNote(ctx, n)
		if err != nil || won {
			n.result = LeakResult{Key: key, Err: err}
			return
		}
		keys, err := s.Store.CurrentKeys(ctx, n.caller.tenant(), n.target.key.ID)
		if err != nil {
			n.result = LeakResult{Err: err}
			return
		}
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Hash == n.target.key.Hash })
		if i < 0 {
			n.result = LeakResult{}
			return
		}
		n.target.key = keys[i]
	}
}

// tryNote reports false if another change of the key won.
func (s *Service) tryNote(ctx context.Context, n *knownLeak) (key *Key, won bool, err error) {
	c, from, now := n.caller, n.target.key, s.instant()
	s.Policy.asOf(&from, now)
	event := func(action Action) Event {
		return c.event(action, ResourceAPIKey, string(from.ID), now, n.target.namespace, from.Retrievers())
	}
	if !c.System {
		if refused := c.mayChange(&from, KeyRevoked, n.target.homes); refused != nil {
			return &from, false, s.deny(ctx, c, refused, event(KeyLeakReported), wish{})
		}
	}
	noted, change := from, Change{AnyState: true}
	if from.LeakedAt == nil {
		noted.LeakedAt, noted.LeakSource, noted.LeakURL = &now, n.report.Source, n.report.URL
		change.Fields |= LeakFields
	}
	to := noted
	if from.Status == Active && s.LeakAction != ReportLeaked {
		change.Fields |= to.revoke(c, now, new(leaked))
	}
	s.Policy.asOf(&to, now)
	for _, step := range []struct {
		action   Action
		from, to *Key
	}{{KeyLeakReported, &from, &noted}, {KeyRevoked, &noted, &to}} {
		if changes := changes(step.from, step.to); len(changes) > 0 {
			e := event(step.action)
			e.Changes = changes
			change.Events = append(change.Events, e)
		}
	}
	if len(change.Events) == 0 {
		return &from, true, nil
	}
	change.Key = to
	if won, err = s.Store.ChangeKey(ctx, change); err != nil || !won {
		return &from, false, err
	}
	to.Revision++
	return &to, true, nil
}

// readLeaks checks reports, and returns them with the hashes in lower case.
func readLeaks(reports []LeakReport) ([]LeakReport, error) {
	if len(reports) > MaxLeaks {
		return nil, Invalid("leaks", "leaks must have at most %d leaks, not %d.", MaxLeaks, len(reports))
	}
	read := make([]LeakReport, len(reports))
	for i, r := range reports {
		if !isHash(r.Hash) {
			return nil, Invalid("hash", "leaks[%d].hash must be the SHA-256 of a key, in %d hexadecimal digits.", i, hashDigits)
		}
		read[i] = LeakReport{Hash: strings.ToLower(r.Hash), URL: r.URL}
		if r.URL != nil {
			if err := checkLeakURL(fmt.Sprintf("leaks[%d].url", i), *r.URL); err != nil {
				return nil, err
			}
		}
		if r.Source != nil {
			source, err := printed("source", *r.Source, maxLeakSource)
			if err != nil {
				return nil, Invalid("source", "leaks[%d].%s", i, Classify(err).Message)
			}
			read[i].Source = &source
		}
	}
	return read, nil
}

// ShowsToken reports whether a text contains a token, as it is or with characters escaped as in URLs.
func ShowsToken(text, token string) bool {
	return strings.Contains(text, token) || strings.Contains(unescaped(text), token)
}

var urlEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescaped replaces the escapes of a URL. Other percent signs stay as they are.
func unescaped(text string) string {
	return urlEscape.ReplaceAllStringFunc(text, func(e string) string {
		character, _ := url.PathUnescape(e) // it cannot fail
		return character
	})
}

// checkLeakURL accepts only what people can safely follow, and what does not contain the key itself.
func checkLeakURL(name, text string) error {
	if n := utf8.RuneCountInString(text); n > maxLeakURL {
		return Invalid("url", "%s must have at most %d characters, not %d.", name, maxLeakURL, n)
	}
	u, err := url.Parse(text)
	unsafe := malformed(text) || strings.ContainsFunc(text, func(r rune) bool { return unprintable(r) || unicode.IsSpace(r) })
	switch {
	case err != nil, unsafe, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return Invalid("url", "%s must be an http or https URL.", name)
	case u.User != nil:
		return Invalid("url", "%s must not contain a user name or a password.", name)
	case HoldsKey(text), HoldsKey(unescaped(text)):
		return Invalid("url", "%s must not contain an API key.", name)
	}
	return nil
}

func hashesOf(reports []LeakReport) []string {
	hashes := make([]string, len(reports))
	for i, r := range reports {
		hashes[i] = r.Hash
	}
	return distinct(hashes)
}

func pointers(keys []Key) []*Key {
	all := make([]*Key, len(keys))
	for i := range keys {
		all[i] = &keys[i]
	}
	return all
}
