package program

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"retrieverkeys/apikey"
)

// place is the position of a key or fragment.
type place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// places contains the first positions of one key or fragment, and the number of all.
type places struct {
	place
	Places []place `json:"places"`
	Count  int     `json:"places_total"`
}

// maxPlaces limits the positions kept for one key.
const maxPlaces = 100

func (p *places) add(at place) {
	if p.Count == 0 {
		p.place = at
	}
	if p.Count++; len(p.Places) < maxPlaces {
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

// leak is a key that was found in files.
type leak struct {
	places
	Prefix string `json:"key_prefix"`
	known
	hash string
}

// fragment is a part of a key that was found in files.
type fragment struct {
	places
	Prefix string  `json:"key_prefix"`
	Length int     `json:"length"`
	MayBe  []known `json:"may_be"` // the keys that begin with it
}

// unread is a file that could not be read completely.
type unread struct {
	File  string `json:"file"`
	Error string `json:"error"`
	err   error
}

// scan is the result of a scan.
type scan struct {
	Leaks         []leak     `json:"results"`
	Total         int        `json:"total"`
	MoreUnknown   int        `json:"more_unknown"` // occurrences of unknown keys that are not in Leaks
	Fragments     []fragment `json:"fragments"`
	MoreFragments int        `json:"more_fragments"` // occurrences of fragments that are not in Fragments
	Unread        []unread   `json:"unread"`
}

// lookUpFragments looks up the keys that begin with the texts. It drops a text that looks like a word unless a key begins with it.
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

func (s *scan) active() int {
	n := 0
	for _, l := range s.Leaks {
		if l.active {
			n++
		}
	}
	return n
}

// reported returns how many keys were reported as leaked.
func (s *scan) reported() int {
	n := 0
	for _, l := range s.Leaks {
		if l.Reported {
			n++
		}
	}
	return n
}

func (c *command) writeScan(s *scan) error {
	if c.cfg.JSON {
		return c.writeJSON(s)
	}
	if len(s.Leaks) > 0 {
		rows := [][]string{{"WHERE", "PREFIX", "STATUS", "KEY ID", "NAME"}}
		for _, l := range s.Leaks {
			rows = append(rows, []string{l.File + ":" + strconv.Itoa(l.Line), l.Prefix, strings.ToUpper(l.Status), string(l.KeyID), l.Name})
		}
		if err := c.table(rows); err != nil {
			return err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s found, %d active.\n", counted(len(s.Leaks), "key"), s.active())
	if n := s.reported(); n > 0 {
		fmt.Fprintf(&b, "%s reported as leaked.\n", counted(n, "key"))
	}
	for _, l := range s.Leaks {
		if l.active {
			fmt.Fprintf(&b, "\n%s is active.\n", printable(string(l.KeyID)))
			l.write(&b, l.String())
		}
	}
	if s.MoreUnknown > 0 {
		fmt.Fprintf(&b, "\nNot listed: %s of keys that are not in the store.\n", counted(s.MoreUnknown, "more occurrence"))
	}
	if len(s.Fragments) > 0 {
		fmt.Fprintf(&b, "\n%s found, truncated or altered.\n", counted(len(s.Fragments), "fragment"))
	}
	for _, f := range s.Fragments {
		f.write(&b)
	}
	if s.MoreFragments > 0 {
		fmt.Fprintf(&b, "\nNot listed: %s of fragments.\n", counted(s.MoreFragments, "more occurrence"))
	}
	_, err := io.WriteString(c.stdout, b.String())
	return err
}

// write prints the key's owner and the command that revokes it.
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
	line("revoke with", k.Revoke)
}

// maxCandidates limits the keys that are printed for one fragment.
const maxCandidates = 20

func (f *fragment) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s: %d characters of a key, on line %d of %s", f.Prefix, f.Length, f.Line, printable(f.File))
	if more := f.Count - 1; more > 0 {
		fmt.Fprintf(b, " and %s", counted(more, "more place"))
	}
	if len(f.MayBe) == 0 {
		b.WriteString(".\nNo key in the store begins with it.\n")
		return
	}
	b.WriteString(".\nIt may be part of:\n")
	for i, k := range f.MayBe {
		if i == maxCandidates {
			fmt.Fprintf(b, "\n  and %d more. --json lists all.\n", len(f.MayBe)-i)
			return
		}
		fmt.Fprintf(b, "\n%s, %s\n", printable(string(k.KeyID)), strings.ToUpper(k.Status))
		k.write(b, "")
	}
}
