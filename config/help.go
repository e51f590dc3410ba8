package config

import (
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Printable reports whether a terminal can be shown the character: it is seen, and changes neither the terminal's state nor
// where the rest of the line stands. The joiners that Persian, Hindi and emoji are written with are among them.
func Printable(r rune) bool {
	const nonJoiner, joiner = '\u200C', '\u200D'
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner || unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// helpAbout returns what help is asked about, if it is asked for at all.
func helpAbout(args []string) (about []string, asked bool) {
	if len(args) > 0 && args[0] == "help" {
		return slices.DeleteFunc(slices.Clone(args[1:]), isHelp), true
	}
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return args, slices.ContainsFunc(args, isHelp)
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// topic returns the command that the arguments name, or the first word of several.
func topic(args []string) (string, error) {
	name, _ := commandName(args)
	known := slices.ContainsFunc(Commands, func(c Command) bool { return c.Name == name })
	if !known && len(group(name)) == 0 {
		return "", unknownCommand(name)
	}
	return name, nil
}

// commandName returns the command that the arguments begin with, and the others.
func commandName(args []string) (name string, rest []string) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", args
	}
	name, rest = args[0], args[1:]
	if len(group(name)) > 0 && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		name, rest = name+" "+rest[0], rest[1:]
	}
	return name, rest
}

// group returns the second words of the commands whose first word it is.
func group(first string) []string {
	var words []string
	for _, c := range Commands {
		if word, second, two := strings.Cut(c.Name, " "); two && word == first {
			words = append(words, second)
		}
	}
	return words
}

func unknownCommand(name string) error {
	var names []string
	for _, c := range Commands[1:] {
		names = append(names, c.Name)
		word, second, two := strings.Cut(c.Name, " ")
		if two && second == name {
			return fmt.Errorf("unknown command %q; did you mean %s?", name, c.Name)
		}
		if two && !slices.Contains(names, word) {
			names = append(names, word)
		}
	}
	return fmt.Errorf("unknown command %q%s", name, didYouMean(name, names, ""))
}

// alternatives lists words as a sentence does.
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// What the package flag says of a wrong flag.
var flagErrors = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?s)^flag needs an argument: -(.*)$`), "--$1 needs a value"},
	{regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([^:]+): (?:parse error|strconv.ParseBool.*)$`), "--$2 takes no value, not $1"},
	{regexp.MustCompile(`(?s)^invalid value (".*") for flag -([^:]+): (.*)$`), "--$2 $3, which $1 is not"},
}

// notDefined is how flag begins what it says of a flag that it does not know.
const notDefined = "flag provided but not defined: -"

// flagProblem says what is wrong with a flag in the terms of this program, whose flags have two dashes.
func flagProblem(fs *flag.FlagSet, err error) error {
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, notDefined); unknown {
		var names []string
		fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		return fmt.Errorf("unknown flag --%s%s", name, didYouMean(name, names, "--"))
	}
	for _, e := range flagErrors {
		text = e.pattern.ReplaceAllString(text, e.instead)
	}
	return fmt.Errorf("%s", text)
}

// didYouMean suggests the name that the wrong one is nearly; nothing where none is near.
func didYouMean(wrong string, names []string, before string) string {
	best, nearest := "", max(1, min(3, len(wrong)/3))+1
	for _, name := range names {
		if d := distance(wrong, name); d < nearest {
			best, nearest = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", before, best)
}

// distance counts the letters to add, drop, replace or swap with the next that make b of a.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// helpWidth is how many columns help has: a terminal's, unless it was made wider.
const helpWidth = 80

// WriteHelp writes how the topic is used: a command, those that begin with a word, or, where it is empty, everything that
// can be asked of the program and how it is configured.
func WriteHelp(w io.Writer, topic string) {
	var b strings.Builder
	switch {
	case topic == "":
		wrap(&b, "", "", "retrieverkeys shows and controls the API keys of retrievers, over GraphQL and REST.")
		b.WriteString("\nCommands:\n")
		for _, c := range Commands {
			c.write(&b)
		}
		b.WriteString("\nretrieverkeys help COMMAND tells the flags of one.\n\nSettings, from the environment:\n")
		new(Config).settings().VisitAll(func(f *flag.Flag) { entry(&b, f.Name, f.Usage) })
		entry(&b, "OTEL_*", "OpenTelemetry's own: OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, says where traces go; default nowhere")
	case len(group(topic)) > 0:
		for _, c := range Commands {
			if strings.HasPrefix(c.Name, topic+" ") {
				c.write(&b)
			}
		}
		fmt.Fprintf(&b, "\nretrieverkeys help %s COMMAND tells the flags of one.\n", topic)
	default:
		i := slices.IndexFunc(Commands, func(c Command) bool { return c.Name == topic })
		Commands[i].writeAll(&b)
	}
	_, _ = io.WriteString(w, b.String())
}

// usage is how the command is called.
func (c *Command) usage() string {
	return strings.TrimSpace(strings.Join(strings.Fields("retrieverkeys "+c.Name+" "+c.Arguments), " "))
}

func (c *Command) write(b *strings.Builder) {
	wrap(b, "  ", "      ", c.usage())
	wrap(b, "        ", "        ", c.Summary)
}

// writeAll writes all there is to know of the command.
func (c *Command) writeAll(b *strings.Builder) {
	wrap(b, "Usage: ", "         ", c.usage())
	b.WriteByte('\n')
	wrap(b, "", "", strings.ToUpper(c.Summary[:1])+c.Summary[1:]+".")
	if c.flags != nil {
		b.WriteString("\nFlags:\n")
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		c.flags(new(Config), fs)
		fs.VisitAll(func(f *flag.Flag) {
			value, usage := flag.UnquoteUsage(f)
			if slices.Contains(c.required, f.Name) {
				usage += "; required"
			}
			name := "--" + f.Name
			if _, isBool := f.Value.(interface{ IsBoolFlag() bool }); !isBool {
				name += " " + value
			}
			entry(b, name, usage)
		})
	}
	if c.Example != "" {
		b.WriteString("\nExample:\n")
		wrap(b, "  ", "      ", "retrieverkeys "+c.Name+" "+c.Example)
	}
	b.WriteString("\nThe settings are in the environment: retrieverkeys help tells them.\n")
}

// entry writes a name and, beside it, what it means.
func entry(b *strings.Builder, name, meaning string) {
	wrap(b, fmt.Sprintf("  %-24s ", name), strings.Repeat(" ", 27), meaning)
}

// wrap writes the text in lines of helpWidth at most, of which the first begins with one text, the others with another.
func wrap(b *strings.Builder, first, next, text string) {
	line, empty := first, true
	for word := range strings.FieldsSeq(text) {
		if !empty && len(line)+len(word) > helpWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = next
		}
		line, empty = line+word+" ", false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
