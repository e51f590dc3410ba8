package program

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// sighting is a text that looks like a key or a part of one.
type sighting struct {
	places
	prefix, hash string
	length       int
	whole        bool
	minted       bool
	order        int // of its first occurrence
	known
}

const (
	// lookUpBatch is the number of texts that are looked up in the store together.
	lookUpBatch = 1000
	// maxUnresolved limits the unknown keys, the fragments and the words that are kept, each.
	maxUnresolved = 1000
)

// sightings collects the texts that look like keys. It keeps every key of the store and a limited number of other texts, so that a file
// can neither exhaust the memory nor displace an active key. It looks up every text that begins like a key, because keys that were created
// elsewhere have no checksum and can have any length.
type sightings struct {
	engine   store.Engine
	registry registry
	kept     map[string]*sighting // by hash
	pending  map[string]*sighting // not yet looked up
	seen     int
	failed   error // the error of the first lookup that failed

	// The numbers of texts that are kept and not in the store. Words that only begin like a key are counted apart, so that they do not displace
	// fragments.
	unknown, fragments, words             int
	moreUnknown, moreFragments, moreWords int // occurrences of texts that are not kept
}

func newSightings(engine store.Engine) *sightings {
	return &sightings{engine: engine, kept: map[string]*sighting{}, pending: map[string]*sighting{}}
}

// see records an occurrence of a text.
func (s *sightings) see(ctx context.Context, secret apikey.Secret, whole bool, at place) {
	if s.failed != nil {
		return
	}
	hash := secret.Hash()
	if seen := cmp.Or(s.kept[hash], s.pending[hash]); seen != nil {
		seen.add(at)
		return
	}
	seen := &sighting{
		prefix: secret.Prefix(), hash: hash, length: len(secret.Reveal()), whole: whole, minted: secret.LooksMinted(), order: s.seen,
		known: known{Status: "unknown"},
	}
	seen.add(at)
	s.seen++
	s.pending[hash] = seen
	if len(s.pending) == lookUpBatch {
		s.failed = s.lookUp(ctx)
	}
}

// lookUp looks up the pending texts in the store and moves them to kept, within the limits.
func (s *sightings) lookUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	pending := slices.SortedFunc(maps.Values(s.pending), byOrder)
	if len(pending) == 0 {
		return nil
	}
	if s.registry.names == nil {
		var err error
		if s.registry, err = newRegistry(ctx, s.engine); err != nil {
			return err
		}
	}
	found, err := keysByHash(ctx, s.engine, pending)
	if err != nil {
		return err
	}
	clear(s.pending)
	for i, at := range pending {
		room, more := &s.unknown, &s.moreUnknown
		switch {
		case len(found[i]) > 0:
			at.whole = true
			if at.known, err = s.registry.known(ctx, &found[i][0]); err != nil {
				return err
			}
			s.kept[at.hash] = at
			continue
		case at.whole:
		case at.minted:
			room, more = &s.fragments, &s.moreFragments
		default:
			room, more = &s.words, &s.moreWords
		}
		if *room == maxUnresolved {
			*more += at.Count
			continue
		}
		*room++
		s.kept[at.hash] = at
	}
	return nil
}

func byOrder(a, b *sighting) int { return cmp.Compare(a.order, b.order) }

// keysByHash returns the keys with the hash of each text. It runs several lookups at a time.
func keysByHash(ctx context.Context, engine store.Engine, texts []*sighting) ([][]apikey.Key, error) {
	const workers = 8
	found, errs := make([][]apikey.Key, len(texts)), make([]error, workers)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < len(texts) && errs[worker] == nil; i += workers {
				found[i], errs[worker] = engine.KeysByHash(ctx, texts[i].hash)
			}
		})
	}
	wg.Wait()
	return found, cmp.Or(errs...)
}

// report fills in the result, in the order of the files.
func (s *sightings) report(ctx context.Context, result *scan) error {
	if err := s.lookUp(ctx); err != nil {
		return err
	}
	var cut []*sighting
	for _, at := range slices.SortedFunc(maps.Values(s.kept), byOrder) {
		if at.whole {
			result.Leaks = append(result.Leaks, leak{places: at.places, Prefix: at.prefix, known: at.known, hash: at.hash})
		} else {
			cut = append(cut, at)
		}
	}
	result.Total, result.MoreUnknown, result.MoreFragments = len(result.Leaks), s.moreUnknown, s.moreFragments+s.moreWords
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	return result.lookUpFragments(ctx, s.registry, cut)
}

// beginning returns a key's prefix without the dots. Some documents have them and some do not.
func beginning(prefix string) string { return strings.TrimSuffix(prefix, "...") }
