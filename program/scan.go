package program

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// keys scan: which keys stand in files, and what the store knows of them.

// place is where a key or a fragment stands.
type place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// places are where one key stands: the first ones, and how many there are.
type places struct {
	place
	Places []place `json:"places"`
	Count  int     `json:"places_total"`
}

// mostPlaces is how many places of one key are kept.
const mostPlaces = 100

func (p *places) add(at place) {
	if p.Count == 0 {
		p.place = at
	}
	if p.Count++; len(p.Places) < mostPlaces {
		p.Places = append(p.Places, at)
	}
}

func (p *places) String() string {
	const shown = 3
	var list []string
	for _, at := range p.Places[:min(len(p.Places), shown)] {
		list = append(list, at.File+":"+strconv.Itoa(at.Line))
	}
	text := strings.Join(list, ", ")
	if more := p.Count - len(list); more > 0 {
		text += " and " + counted(more, "more place")
	}
	return text
}

// known is what the store knows of a key.
type known struct {
	Status       string             `json:"status"` // "unknown" where the store has no such key
	KeyID        apikey.ID          `json:"key_id,omitempty"`
	Name         string             `json:"name,omitempty"`
	Organization string             `json:"organization,omitempty"`
	Namespace    apikey.NamespaceID `json:"namespace_id,omitempty"`
	Retriever    apikey.RetrieverID `json:"retriever_id,omitempty"`
	Revoke       string             `json:"revoke,omitempty"` // the command that does it
	alive        bool
}

// leak is a key in files.
type leak struct {
	places
	Prefix string `json:"key_prefix"`
	known
}

// fragment is a part of a key in files, and the keys that it may be of.
type fragment struct {
	places
	Prefix string  `json:"key_prefix"`
	Length int     `json:"length"`
	MayBe  []known `json:"may_be"`
}

// unread is a file that could not be read, or not to its end.
type unread struct {
	File  string `json:"file"`
	Error string `json:"error"`
	err   error
}

// sighting is a text that was seen in files.
type sighting struct {
	places
	prefix, hash string
	length       int
	whole        bool
	minted       bool
	order        int // of all texts that were seen
	known
}

// scan is the outcome of a scan.
type scan struct {
	Leaks         []leak     `json:"results"`
	Total         int        `json:"total"`
	MoreUnknown   int        `json:"more_unknown"` // places of keys that the store does not know and that are not among the results
	Fragments     []fragment `json:"fragments"`
	MoreFragments int        `json:"more_fragments"` // places of fragments that are not among these
	Unread        []unread   `json:"unread"`
}

func (p *program) scanFiles(ctx context.Context) error {
	if p.cfg.Keys.Rules != "" {
		return p.writeRules()
	}
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		s := newSightings(engine)
		result := scan{Leaks: []leak{}, Fragments: []fragment{}, Unread: []unread{}}
		var failed []error
		for _, file := range p.cfg.Operands {
			shown := apikey.HideKeys(file)
			err := p.scanFile(file, func(r io.Reader) io.Reader { return whileItWorks{ctx, s, r} }, func(secret apikey.Secret, whole bool, line int) {
				s.see(ctx, secret, whole, place{shown, line})
			})
			if err := cmp.Or(s.failed, ctx.Err()); err != nil {
				return errors.Join(append(failed, err)...)
			}
			if err != nil {
				failed = append(failed, err)
				result.Unread = append(result.Unread, unread{shown, apikey.HideKeys(err.Error()), err})
			}
		}
		if err := s.report(ctx, &result); err != nil {
			return errors.Join(append(failed, err)...)
		}
		failed = append(failed, p.writeScan(&result))
		if n := result.alive(); n > 0 && p.cfg.Keys.ExitCode {
			failed = append(failed, errAlive)
		}
		return errors.Join(failed...)
	})
}

// whileItWorks reads a file up to the first lookup that fails.
type whileItWorks struct {
	ctx  context.Context
	seen *sightings
	io.Reader
}

func (r whileItWorks) Read(p []byte) (int, error) {
	if err := cmp.Or(r.seen.failed, r.ctx.Err()); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// errAlive ends a scan that is to fail where it finds a key that is alive.
var errAlive = errors.New("a key that is alive was found")

// scanFile calls found for each key and fragment in the file, which it reads through wrap.
func (p *program) scanFile(name string, wrap func(io.Reader) io.Reader, found func(s apikey.Secret, whole bool, line int)) error {
	r := p.stdin
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the operator names it
		if hidden := apikey.HideKeys(name); errors.Is(err, fs.ErrNotExist) && hidden != name {
			return fmt.Errorf("%s looks like a key, not like a file: put it into a file, or pass it on standard input to: retrieverkeys keys scan -. Your shell may have kept it in its history", hidden)
		}
		if err != nil {
			return fmt.Errorf("%s could not be read: %w", name, reason(err))
		}
		defer f.Close() //nolint:errcheck // nothing was written
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a directory: name the files in it", name)
		}
		r = f
	}
	text, err := plain(wrap(r))
	if err == nil {
		err = apikey.FindLeaks(text, found)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the compressed data is cut off")
	}
	if err != nil {
		return fmt.Errorf("%s could not be read to its end: %w", name, reason(err))
	}
	return nil
}

// reason is the error without the name of the file, which is told before it.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// plain returns the text in UTF-8 of what may be compressed by gzip, even twice, and may be UTF-16 or UTF-32.
func plain(r io.Reader) (io.Reader, error) {
	const headBytes, mostLayers = 4 << 10, 3
	text := bufio.NewReaderSize(r, headBytes)
	for range mostLayers {
		if head, _ := text.Peek(3); !bytes.Equal(head, []byte{0x1F, 0x8B, 8}) {
			break
		}
		unzipped, err := gzip.NewReader(text)
		if err != nil {
			return nil, err
		}
		text = bufio.NewReaderSize(unzipped, headBytes)
	}
	head, _ := text.Peek(headBytes)
	if unit := unitOf(head); unit != nil {
		return &wideReader{text, unit}, nil
	}
	return text, nil
}

// unit is how a text writes a character: the bytes of a UTF-16 or UTF-32 number, by their place from the highest to the lowest.
type unit []int

var (
	utf16LE, utf16BE = unit{1, 0}, unit{0, 1}
	utf32LE, utf32BE = unit{3, 2, 1, 0}, unit{0, 1, 2, 3}
)

// unitOf returns the unit of a text in UTF-16 or UTF-32, and nil for other texts. A mark at the beginning tells, or, for lack of
// one, the zeros that stand beside the letters of English.
func unitOf(head []byte) unit {
	for _, marked := range []struct {
		mark string
		unit
	}{{"\xff\xfe\x00\x00", utf32LE}, {"\x00\x00\xfe\xff", utf32BE}, {"\xff\xfe", utf16LE}, {"\xfe\xff", utf16BE}} { // UTF-16's mark begins UTF-32's
		if bytes.HasPrefix(head, []byte(marked.mark)) {
			return marked.unit
		}
	}
	if len(head) <= 8 {
		return nil
	}
	for _, u := range []unit{utf32LE, utf32BE} {
		if letters := u.letters(head); letters > len(head)/len(u)*3/4 {
			return u
		}
	}
	zeros := [2]int{}
	for i, c := range head {
		if c == 0 {
			zeros[i%2]++
		}
	}
	most, few := len(head)/4, len(head)/100 // half, and two in a hundred, of the first or second bytes
	switch {
	case zeros[1] > most && zeros[0] <= few:
		return utf16LE
	case zeros[0] > most && zeros[1] <= few:
		return utf16BE
	default:
		return nil
	}
}

// letters counts the characters of ASCII text.
func (u unit) letters(text []byte) int {
	n := 0
	for ; len(text) >= len(u); text = text[len(u):] {
		if c := u.number(text); ' ' <= c && c <= '~' || '\t' <= c && c <= '\r' {
			n++
		}
	}
	return n
}

func (u unit) number(text []byte) uint32 {
	var n uint32
	for _, i := range u {
		n = n<<8 | uint32(text[i])
	}
	return n
}

// wideReader reads UTF-16 or UTF-32 as UTF-8. Keys and ends of lines are ASCII, so it reads a character of two units as two unknown
// characters.
type wideReader struct {
	text io.Reader
	unit unit
}

func (r *wideReader) Read(p []byte) (int, error) {
	var buf [4]byte
	char := buf[:len(r.unit)]
	n := 0
	for n <= len(p)-utf8.UTFMax {
		if _, err := io.ReadFull(r.text, char); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) { // half a character at the end
				err = io.EOF
			}
			return n, err
		}
		n += utf8.EncodeRune(p[n:], rune(min(r.unit.number(char), utf8.MaxRune+1))) // what is no character is written as an unknown one
	}
	return n, nil
}

const (
	// lookedUpTogether is how many texts are remembered before the store is asked which of them are its keys.
	lookedUpTogether = 1000
	// mostUnresolved is how many keys that the store does not know are kept, and how many fragments.
	mostUnresolved = 1000
)

// sightings are the texts that were seen. It keeps every key of the store. Of the other texts it keeps the first ones, so that
// no file can fill the memory or push out a key that is alive. Each text that begins like a key is looked up, because keys that
// were made elsewhere have no checksum and may have any length.
type sightings struct {
	engine   store.Engine
	registry registry
	kept     map[string]*sighting // by hash
	pending  map[string]*sighting // not yet looked up
	seen     int
	failed   error // of the first lookup that failed

	// What is kept of texts that are no keys of the store. Words that merely begin like a key do not count as fragments, so
	// that there is room for these.
	unknown, fragments, words             int
	moreUnknown, moreFragments, moreWords int // places
}

func newSightings(engine store.Engine) *sightings {
	return &sightings{engine: engine, kept: map[string]*sighting{}, pending: map[string]*sighting{}}
}

// see notes where a text stands.
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
	if len(s.pending) == lookedUpTogether {
		s.failed = s.lookUp(ctx)
	}
}

// lookUp asks the store which of the pending texts are its keys, and keeps what is worth it.
func (s *sightings) lookUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	pending := slices.SortedFunc(maps.Values(s.pending), byOrder)
	if len(pending) == 0 {
		return nil
	}
	if s.registry.of == nil {
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
		if *room == mostUnresolved {
			*more += at.Count
			continue
		}
		*room++
		s.kept[at.hash] = at
	}
	return nil
}

func byOrder(a, b *sighting) int { return cmp.Compare(a.order, b.order) }

// keysByHash returns the keys with the hash of each text. It asks for several at a time, because a file may hold many.
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

// report tells what was seen, in the order of the files.
func (s *sightings) report(ctx context.Context, result *scan) error {
	if err := s.lookUp(ctx); err != nil {
		return err
	}
	var cut []*sighting
	for _, at := range slices.SortedFunc(maps.Values(s.kept), byOrder) {
		if at.whole {
			result.Leaks = append(result.Leaks, leak{places: at.places, Prefix: at.prefix, known: at.known})
		} else {
			cut = append(cut, at)
		}
	}
	result.Total, result.MoreUnknown, result.MoreFragments = len(result.Leaks), s.moreUnknown, s.moreFragments+s.moreWords
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	return result.lookUpFragments(ctx, s.registry, cut)
}

// lookUpFragments asks the store which keys begin as the texts do. A text that no key begins as, and that looks like a word, is no
// fragment.
func (s *scan) lookUpFragments(ctx context.Context, r registry, cut []*sighting) error {
	if len(cut) == 0 {
		return nil
	}
	var prefixes []string
	for _, at := range cut {
		prefixes = append(prefixes, at.prefix, beginning(at.prefix))
	}
	slices.Sort(prefixes)
	keys, err := r.engine.KeysWithPrefix(ctx, slices.Compact(prefixes))
	if err != nil {
		return err
	}
	slices.SortFunc(keys, func(a, b apikey.Key) int { return cmp.Compare(a.ID, b.ID) })
	mayBe := map[string][]known{}
	for i := range keys {
		k, err := r.known(ctx, &keys[i])
		if err != nil {
			return err
		}
		begins := beginning(*keys[i].Prefix)
		mayBe[begins] = append(mayBe[begins], k)
	}
	for _, at := range cut {
		f := fragment{places: at.places, Prefix: at.prefix, Length: at.length, MayBe: mayBe[beginning(at.prefix)]}
		if f.MayBe == nil {
			f.MayBe = []known{}
		}
		if at.minted || len(f.MayBe) > 0 {
			s.Fragments = append(s.Fragments, f)
		}
	}
	return nil
}

// beginning is the prefix of a key as some are stored, without dots.
func beginning(prefix string) string { return strings.TrimSuffix(prefix, "...") }

// known tells of a key what somebody who found it needs to know.
func (r registry) known(ctx context.Context, k *apikey.Key) (known, error) {
	status := k.StatusAt(time.Now())
	found := known{
		Status: string(status), KeyID: apikey.ID(strings.Clone(string(k.ID))), Name: strings.Clone(k.Name), // not with the document's memory
		Organization: strings.Clone(r.organization(k)), alive: status == apikey.Active,
	}
	if found.alive {
		same, err := r.engine.KeysWithID(ctx, k.ID)
		if err != nil {
			return known{}, err
		}
		found.Revoke = r.revocation(k, len(same) > 1)
	}
	rs, err := r.engine.Retrievers(ctx, k.InternalID, k.Retrievers())
	if err == nil && len(rs) > 0 {
		found.Namespace, found.Retriever = rs[0].NamespaceID, rs[0].ID
	}
	return found, err
}

func (s *scan) alive() int {
	n := 0
	for _, l := range s.Leaks {
		if l.alive {
			n++
		}
	}
	return n
}

func (p *program) writeScan(s *scan) error {
	if p.cfg.JSON {
		return p.writeJSON(s)
	}
	if len(s.Leaks) > 0 {
		rows := [][]string{{"WHERE", "PREFIX", "STATUS", "KEY ID", "NAME"}}
		for _, l := range s.Leaks {
			rows = append(rows, []string{l.File + ":" + strconv.Itoa(l.Line), l.Prefix, strings.ToUpper(l.Status), string(l.KeyID), l.Name})
		}
		if err := p.table(rows); err != nil {
			return err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s found, %d of them alive.\n", counted(len(s.Leaks), "key"), s.alive())
	for _, l := range s.Leaks {
		if l.alive {
			fmt.Fprintf(&b, "\n%s is alive.\n", printable(string(l.KeyID)))
			l.write(&b, l.String())
		}
	}
	if s.MoreUnknown > 0 {
		fmt.Fprintf(&b, "\nNot listed: %s that the store does not know, counted at each place.\n", counted(s.MoreUnknown, "more key"))
	}
	if len(s.Fragments) > 0 {
		fmt.Fprintf(&b, "\n%s found, cut off or altered.\n", counted(len(s.Fragments), "fragment"))
	}
	for _, f := range s.Fragments {
		f.write(&b)
	}
	if s.MoreFragments > 0 {
		fmt.Fprintf(&b, "\nNot listed: %s, counted at each place.\n", counted(s.MoreFragments, "more fragment"))
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// write tells whose the key is, and how to end it.
func (k *known) write(b *strings.Builder, where string) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "  %-12s  %s\n", name, printable(value))
		}
	}
	line("name", k.Name)
	line("organization", k.Organization)
	line("namespace", string(k.Namespace))
	line("retriever", string(k.Retriever))
	line("found in", where)
	line("revoke it", k.Revoke)
}

// mostCandidates is how many of the keys that a fragment may be of are told in a text.
const mostCandidates = 20

func (f *fragment) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s has %d characters of a key, in line %d of %s", f.Prefix, f.Length, f.Line, printable(f.File))
	if more := f.Count - 1; more > 0 {
		fmt.Fprintf(b, " and %s", counted(more, "more place"))
	}
	if len(f.MayBe) == 0 {
		b.WriteString(". No key in the store begins so.\n")
		return
	}
	b.WriteString(". It may be of:\n")
	for i, k := range f.MayBe {
		if i == mostCandidates {
			fmt.Fprintf(b, "\n  and %d more: --json tells them all.\n", len(f.MayBe)-i)
			return
		}
		fmt.Fprintf(b, "\n%s, %s\n", printable(string(k.KeyID)), strings.ToUpper(k.Status))
		k.write(b, "")
	}
}
