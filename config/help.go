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

// Printable reports whether a character is safe on a terminal: it is visible, and changes neither the terminal's state nor the direction
// of the line. The joiners that Persian, Hindi and emoji need are printable.
func Printable(r rune) bool {
	const nonJoiner, joiner = '\u200C', '\u200D'
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner || unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// helpAbout reports whether the arguments ask for help, and returns the words that they ask about.
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

// topic returns the command that the arguments name, or the first word of several commands.
func topic(args []string) (string, error) {
	name, _ := commandName(args)
	known := slices.ContainsFunc(Commands, func(c Command) bool { return c.Name == name })
	if !known && len(group(name)) == 0 {
		return "", unknownCommand(name)
	}
	return name, nil
}

// commandName returns the command that the arguments begin with, and the rest of them.
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

// group returns the second words of the commands that begin with this word.
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

// alternatives joins words as in "a, b or c".
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// flagErrors rewrites the errors of the package flag.
var flagErrors = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?s)^flag needs an argument: -(.*)$`), "--$1 needs a value"},
	{regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([^:]+): (?:parse error|strconv.ParseBool.*)$`), "--$2 takes no value, but has $1"},
	{regexp.MustCompile(`(?s)^invalid value (".*") for flag -([^:]+): (.*)$`), "--$2 $3, not $1"},
}

// notDefined begins the error of the package flag about an unknown flag.
const notDefined = "flag provided but not defined: -"

// flagProblem describes a wrong flag. Unlike the package flag, it writes flags with two dashes.
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

// didYouMean suggests the name that is most similar to the wrong one, if one is similar.
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

// distance is the number of letters to add, remove, replace or swap with the next one to turn a into b.
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

// helpWidth is the width of help texts, in columns.
const helpWidth = 80

// WriteHelp describes a command, the commands that begin with a word, or, if the topic is empty, all commands and settings.
func WriteHelp(w io.Writer, topic string) {
	var b strings.Builder
	switch {
	case topic == "":
		wrap(&b, "", "", "retrieverkeys serves the API keys of retrievers over GraphQL and REST, and manages them.")
		b.WriteString("\nCommands:\n")
		for _, c := range Commands {
			c.write(&b)
		}
		b.WriteString("\nRun retrieverkeys help COMMAND for the flags of a command.\n\nEnvironment variables:\n")
		for _, s := range append(new(Config).settings(), openTelemetry) {
			meaning := s.meaning + "."
			if s.fallback != "" {
				meaning += " Default: " + s.fallback + "."
			}
			entry(&b, s.name, meaning)
		}
	case len(group(topic)) > 0:
		for _, c := range Commands {
			if strings.HasPrefix(c.Name, topic+" ") {
				c.write(&b)
			}
		}
		fmt.Fprintf(&b, "\nRun retrieverkeys help %s COMMAND for the flags of a command.\n", topic)
	default:
		i := slices.IndexFunc(Commands, func(c Command) bool { return c.Name == topic })
		Commands[i].writeAll(&b)
	}
	_, _ = io.WriteString(w, b.String())
}

// usage is the synopsis of the command.
func (c *Command) usage() string {
	return strings.TrimSpace(strings.Join(strings.Fields("retrieverkeys "+c.Name+" "+c.Arguments), " "))
}

func (c *Command) write(b *strings.Builder) {
	wrap(b, "  ", "      ", c.usage())
	wrap(b, "        ", "        ", c.Summary)
}

// writeAll writes the synopsis, flags and an example.
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
	b.WriteString("\nSettings come from environment variables: see retrieverkeys help.\n")
}

// entry writes a name with its meaning beside it.
func entry(b *strings.Builder, name, meaning string) {
	wrap(b, fmt.Sprintf("  %-24s ", name), strings.Repeat(" ", 27), meaning)
}

// wrap breaks the text into lines of at most helpWidth columns. The first line begins with first, the others with next.
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
