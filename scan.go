package main

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
	"os"
	"slices"
	"strconv"
	"strings"
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
}

// scan is the outcome of a scan.
type scan struct {
	Leaks     []leak     `json:"results"`
	Total     int        `json:"total"`
	Fragments []fragment `json:"fragments"`
	Unread    []unread   `json:"unread"`
}

func (p *program) scanFiles(ctx context.Context) error {
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		result := scan{Leaks: []leak{}, Fragments: []fragment{}, Unread: []unread{}}
		var failed []error
		seen := map[string]*sighting{}
		var order []*sighting
		for _, file := range p.cfg.Operands {
			shown := apikey.HideKeys(file)
			err := p.scanFile(file, func(s apikey.Secret, whole bool, line int) {
				hash := s.Hash()
				if seen[hash] == nil {
					seen[hash] = &sighting{prefix: s.Prefix(), hash: hash, length: len(s.Reveal()), whole: whole, minted: s.LooksMinted()}
					order = append(order, seen[hash])
				}
				seen[hash].add(place{shown, line})
			})
			if err != nil {
				failed = append(failed, err)
				result.Unread = append(result.Unread, unread{shown, apikey.HideKeys(err.Error()), err})
			}
		}
		ctx, cancel := context.WithTimeout(ctx, searchTimeout)
		defer cancel()
		if err := result.lookUp(ctx, engine, order); err != nil {
			return errors.Join(append(failed, err)...)
		}
		failed = append(failed, p.writeScan(&result))
		if n := result.alive(); n > 0 && p.cfg.Keys.ExitCode {
			failed = append(failed, errAlive)
		}
		return errors.Join(failed...)
	})
}

// errAlive ends a scan that is to fail where it finds a key that is alive.
var errAlive = errors.New("a key that is alive was found")

// scanFile calls found for each key and fragment in the file.
func (p *program) scanFile(name string, found func(s apikey.Secret, whole bool, line int)) error {
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
	text, err := plain(r)
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

// plain returns the text in UTF-8 of what may be compressed by gzip, even twice, and may be UTF-16.
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
	if high, is := isUTF16(head); is {
		return &utf16Reader{text, high}, nil
	}
	return text, nil
}

// isUTF16 reports whether a text is in UTF-16, and which byte of each two is the high one. A mark at its beginning tells, or the
// zeros that stand beside the letters of English.
func isUTF16(head []byte) (high int, is bool) {
	zeros := [2]int{}
	for i, c := range head {
		if c == 0 {
			zeros[i%2]++
		}
	}
	most, few := len(head)/4, len(head)/100 // half, and two in a hundred, of the first or second bytes
	switch {
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}), len(head) > 8 && zeros[1] > most && zeros[0] <= few:
		return 1, true
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}), len(head) > 8 && zeros[0] > most && zeros[1] <= few:
		return 0, true
	default:
		return 0, false
	}
}

// utf16Reader reads UTF-16 as UTF-8. Keys and ends of lines are ASCII: what takes two units is read as two unknown characters.
type utf16Reader struct {
	text io.Reader
	high int
}

func (r *utf16Reader) Read(p []byte) (int, error) {
	var unit [2]byte
	n := 0
	for n <= len(p)-utf8.UTFMax {
		if _, err := io.ReadFull(r.text, unit[:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) { // half a character at the end
				err = io.EOF
			}
			return n, err
		}
		n += utf8.EncodeRune(p[n:], rune(unit[r.high])<<8|rune(unit[1-r.high]))
	}
	return n, nil
}

// longestCut is how long a text may be that is surely cut off. A longer one may be a key without a checksum, which was made elsewhere.
const longestCut = 20

// lookUp asks the store what it knows of the texts that were seen.
func (s *scan) lookUp(ctx context.Context, engine store.Engine, seen []*sighting) error {
	if len(seen) == 0 {
		return nil
	}
	registry, err := newRegistry(ctx, engine)
	if err != nil {
		return err
	}
	var cut []*sighting
	for _, at := range seen {
		l := leak{places: at.places, Prefix: at.prefix, known: known{Status: "unknown"}}
		if at.whole || at.length > longestCut {
			keys, err := engine.KeysByHash(ctx, at.hash)
			if err != nil {
				return err
			}
			if len(keys) > 0 {
				if l.known, err = registry.known(ctx, &keys[0]); err != nil {
					return err
				}
			}
			at.whole = at.whole || len(keys) > 0
		}
		if at.whole {
			s.Leaks = append(s.Leaks, l)
		} else {
			cut = append(cut, at)
		}
	}
	s.Total = len(s.Leaks)
	return s.lookUpFragments(ctx, registry, cut)
}

// lookUpFragments asks the store which keys begin as the texts do. Those that no key begins as, and that look like words, are none.
func (s *scan) lookUpFragments(ctx context.Context, r registry, cut []*sighting) error {
	if len(cut) == 0 {
		return nil
	}
	var prefixes []string
	for _, at := range cut {
		prefixes = append(prefixes, at.prefix, strings.TrimSuffix(at.prefix, "..."))
	}
	slices.Sort(prefixes)
	keys, err := r.engine.KeysWithPrefix(ctx, slices.Compact(prefixes))
	if err != nil {
		return err
	}
	slices.SortFunc(keys, func(a, b apikey.Key) int { return cmp.Compare(a.ID, b.ID) })
	for _, at := range cut {
		f := fragment{places: at.places, Prefix: at.prefix, Length: at.length, MayBe: []known{}}
		for i := range keys {
			if strings.TrimSuffix(*keys[i].Prefix, "...") != strings.TrimSuffix(at.prefix, "...") {
				continue
			}
			k, err := r.known(ctx, &keys[i])
			if err != nil {
				return err
			}
			f.MayBe = append(f.MayBe, k)
		}
		if at.minted || len(f.MayBe) > 0 {
			s.Fragments = append(s.Fragments, f)
		}
	}
	return nil
}

// known tells of a key what somebody who found it needs to know.
func (r registry) known(ctx context.Context, k *apikey.Key) (known, error) {
	status := k.StatusAt(time.Now())
	found := known{
		Status: string(status), KeyID: k.ID, Name: k.Name, Organization: r.organization(k), alive: status == apikey.Active,
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
	if len(s.Fragments) > 0 {
		fmt.Fprintf(&b, "\n%s found, cut off or altered.\n", counted(len(s.Fragments), "fragment"))
	}
	for _, f := range s.Fragments {
		f.write(&b)
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
