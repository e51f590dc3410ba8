package program

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// table is a table that can be written in parts. Each column is as wide as its widest cell so far.
type table struct {
	columns []string
	widths  []int // nil before the first rows
}

// write writes more rows.
func (t *table) write(to io.Writer, rows [][]string) error {
	begins := t.widths == nil
	if begins {
		t.widths = make([]int, len(t.columns))
	}
	total := 2 * (len(t.widths) - 1)
	named := append([][]string{t.columns}, rows...)
	for _, row := range named {
		for i := range row {
			row[i] = cmp.Or(printable(row[i]), "-")
			t.widths[i] = max(t.widths[i], width(row[i]))
		}
	}
	for _, w := range t.widths {
		total += w
	}
	var b strings.Builder
	if terminal := columns(to); terminal > 0 && total > terminal {
		blocks(&b, t.columns, rows)
	} else {
		if begins {
			rows = named
		}
		for _, row := range rows {
			for i, cell := range row {
				if b.WriteString(cell); i < len(row)-1 {
					b.WriteString(strings.Repeat(" ", t.widths[i]-width(cell)+2))
				}
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// table writes rows in columns; the first row contains the names of the columns. If the terminal is too narrow, it writes each row as a block
// of lines instead.
func (c *command) table(rows [][]string) error {
	return (&table{columns: rows[0]}).write(c.stdout, rows[1:])
}

// blocks writes each row as a block with one line per column.
func blocks(b *strings.Builder, names []string, rows [][]string) {
	longest := 0
	for _, name := range names[1:] {
		longest = max(longest, len(name))
	}
	for _, row := range rows {
		fmt.Fprintln(b, row[0])
		for i, cell := range row[1:] {
			if cell != "-" {
				fmt.Fprintf(b, "  %-*s  %s\n", longest, strings.ToLower(names[i+1]), cell)
			}
		}
		b.WriteByte('\n')
	}
}

// listing writes a list in parts, as a table or as JSON, so that a list of any length takes little memory. It writes nothing before the first
// part is complete, so a list that cannot be read does not look like an empty one.
type listing struct {
	*command
	thing string
	table table
	rows  [][]string
	json  []byte
	n     int
}

// partRows is the number of rows of a table that are written together, partBytes the size of a part of JSON.
const (
	partRows  = 1000
	partBytes = 64 << 10
)

// listing returns a listing of things with these columns.
func (c *command) listing(thing string, columns ...string) *listing {
	return &listing{command: c, thing: thing, table: table{columns: columns}}
}

// add adds an item: item is its value in JSON, row returns its row in a table.
func (l *listing) add(item any, row func() []string) error {
	l.n++
	if !l.cfg.JSON {
		if l.rows = append(l.rows, row()); len(l.rows) < partRows {
			return nil
		}
		return l.flush()
	}
	text, err := indented(item, "    ")
	if err != nil {
		return err
	}
	before := ",\n    "
	if l.n == 1 {
		before = "{\n  \"results\": [\n    "
	}
	if l.json = append(append(l.json, before...), text...); len(l.json) < partBytes {
		return nil
	}
	return l.flush()
}

// flush writes the items added so far.
func (l *listing) flush() error {
	if l.cfg.JSON {
		_, err := l.stdout.Write(l.json)
		l.json = l.json[:0]
		return err
	}
	if len(l.rows) == 0 {
		return nil
	}
	err := l.table.write(l.stdout, l.rows)
	l.rows = nil
	return err
}

// end writes the remaining items and their number.
func (l *listing) end() error {
	if l.cfg.JSON {
		end := "\n  ],"
		if l.n == 0 {
			end = "{\n  \"results\": [],"
		}
		l.json = fmt.Appendf(append(l.json, end...), "\n  \"total\": %d\n}\n", l.n)
		return l.flush()
	}
	if err := l.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(l.stdout, "%s.\n", counted(l.n, l.thing))
	return err
}
