package config

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

var shells = []string{"bash", "zsh", "fish"}

// completions has the script of each of the shells. The scripts are made from Commands, so they have every command and flag.
var completions = map[string]func(*strings.Builder){"bash": bash, "zsh": zsh, "fish": fish}

// WriteCompletion writes the completion script of a shell.
func WriteCompletion(w io.Writer, shell string) error {
	var b strings.Builder
	completions[shell](&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// word is a word that a shell can complete, with its meaning.
type word struct{ text, meaning string }

// firstWords are the words that can follow the program's name.
func firstWords() []word {
	var found []word
	for _, c := range Commands[1:] {
		first, _, two := strings.Cut(c.Name, " ")
		if slices.ContainsFunc(found, func(w word) bool { return w.text == first }) {
			continue
		}
		meaning := brief(c.Summary)
		if two {
			meaning = alternatives(group(first)) + " " + first
		}
		found = append(found, word{first, meaning})
	}
	return append(found, word{"help", "describe a command"})
}

// secondWords are the words that can follow the first word of several commands.
func secondWords(first string) []word {
	var found []word
	for _, c := range Commands {
		if second, within := strings.CutPrefix(c.Name, first+" "); within {
			found = append(found, word{second, brief(c.Summary)})
		}
	}
	return found
}

// brief is the first part of a text.
func brief(text string) string {
	text, _, _ = strings.Cut(text, ";")
	text, _, _ = strings.Cut(text, ": ")
	return strings.ReplaceAll(text, "`", "")
}

// words are the operands that are known in advance, and the flags.
func (c *Command) words() []word {
	var found []word
	if c.operand == "shell" {
		for _, shell := range shells {
			found = append(found, word{shell, "print the script for " + shell})
		}
	}
	for _, f := range c.flagList() {
		found = append(found, word{"--" + f.Name, brief(f.Usage)})
	}
	return append(found, word{"--help", "describe the command"})
}

func (c *Command) flagList() (flags []*flag.Flag) {
	if c.flags != nil {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		c.flags(new(Config), fs)
		fs.VisitAll(func(f *flag.Flag) { flags = append(flags, f) })
	}
	return flags
}

// flagValues has the values of flags that have few.
var flagValues = map[string][]string{"status": KeyStatuses, "type": KeyTypes, "finding": KeyFindings, "rules": Scanners, "with": OptionalFields}

// valuedFlags returns the flags that need a value, each with the values that are known.
func valuedFlags() map[string][]string {
	found := map[string][]string{}
	for _, c := range Commands {
		for _, f := range c.flagList() {
			if b, is := f.Value.(interface{ IsBoolFlag() bool }); !is || !b.IsBoolFlag() {
				found[f.Name] = flagValues[f.Name]
			}
		}
	}
	return found
}

// cases writes the cases that bash and zsh share: what can follow which words. The subject of the case is the number of the current word,
// counted from the program's name as 0, and the two words that follow the name. write writes the words.
func cases(b *strings.Builder, write func([]word) string) {
	add := func(pattern string, words []word, files bool) {
		fmt.Fprintf(b, "    %s) words=(%s)", pattern, write(words))
		if files {
			b.WriteString(" files=yes")
		}
		b.WriteString(" ;;\n")
	}
	add(`"1 "*`, append(firstWords(), word{"--help", "describe all commands and settings"}, word{"--version", "print the version"}), false)
	for _, first := range firstWords() {
		if seconds := secondWords(first.text); len(seconds) > 0 {
			add(fmt.Sprintf(`"2 %s "*`, first.text), append(seconds, word{"--help", "describe these commands"}), false)
		}
	}
	for _, c := range Commands[1:] {
		name := c.Name
		if !strings.Contains(name, " ") {
			name += " "
		}
		add(fmt.Sprintf(`*" %s"*`, name), c.words(), c.operand == "file")
	}
}

// valueCases writes the cases of the flag before the current word. After one that needs a value, the shell offers only its values.
func valueCases(b *strings.Builder, write func([]word) string) {
	flags := valuedFlags()
	var others []string
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if flags[name] == nil {
			others = append(others, "--"+name)
			continue
		}
		var words []word
		for _, value := range flags[name] {
			words = append(words, word{text: value})
		}
		fmt.Fprintf(b, "    --%s) words=(%s) files= ;;\n", name, write(words))
	}
	fmt.Fprintf(b, "    %s) words=() files= ;;\n", strings.Join(others, "|"))
}

func bash(b *strings.Builder) {
	texts := func(words []word) string {
		var all []string
		for _, w := range words {
			all = append(all, w.text)
		}
		return strings.Join(all, " ")
	}
	b.WriteString("# bash completion of retrieverkeys\n_retrieverkeys() {\n  local words=() files=\n  case \"$COMP_CWORD ${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n")
	cases(b, texts)
	b.WriteString("  esac\n  case \"${COMP_WORDS[COMP_CWORD-1]}\" in\n")
	valueCases(b, texts)
	b.WriteString(`  esac
  COMPREPLY=($(compgen -W "${words[*]}" -- "${COMP_WORDS[COMP_CWORD]}"))
  if [ -n "$files" ]; then
    COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -o filenames -F _retrieverkeys retrieverkeys
`)
}

func zsh(b *strings.Builder) {
	described := func(words []word) string {
		var all []string
		for _, w := range words {
			all = append(all, quoted(strings.TrimSuffix(w.text+":"+strings.ReplaceAll(w.meaning, ":", `\:`), ":")))
		}
		return strings.Join(all, " ")
	}
	// The variable words is zsh's own, so the function copies it before it uses the name as bash does.
	b.WriteString(`#compdef retrieverkeys
# zsh completion of retrieverkeys
_retrieverkeys() {
  local before="${words[CURRENT-1]}" line="$((CURRENT-1)) ${words[2]} ${words[3]}" files=
  local -a words
  case "$line" in
`)
	cases(b, described)
	b.WriteString("  esac\n  case \"$before\" in\n")
	valueCases(b, described)
	b.WriteString(`  esac
  _describe retrieverkeys words
  if [[ -n $files ]]; then
    _files
  fi
}
# The file works both in a folder of fpath and when it is sourced.
if [[ ${funcstack[1]} == _retrieverkeys ]]; then
  _retrieverkeys
else
  compdef _retrieverkeys retrieverkeys
fi
`)
}

func fish(b *strings.Builder) {
	b.WriteString("# fish completion of retrieverkeys\ncomplete -c retrieverkeys -f\n")
	add := func(condition, rest string) {
		fmt.Fprintf(b, "complete -c retrieverkeys -n '%s' %s\n", condition, rest)
	}
	offer := func(condition string, words []word) {
		for _, w := range words {
			add(condition, fmt.Sprintf("-a %s -d %s", w.text, quotedForFish(w.meaning)))
		}
	}
	var texts []string
	for _, first := range firstWords() {
		texts = append(texts, first.text)
	}
	none := "not __fish_seen_subcommand_from " + strings.Join(texts, " ")
	offer(none, firstWords())
	add(none, "-l help -d 'describe all commands and settings'")
	add(none, "-l version -d 'print the version'")
	for _, first := range texts {
		if seconds := group(first); len(seconds) > 0 {
			offer("__fish_seen_subcommand_from "+first+"; and not __fish_seen_subcommand_from "+strings.Join(seconds, " "), secondWords(first))
		}
	}
	valued := valuedFlags()
	for _, c := range Commands[1:] {
		var seen []string
		for part := range strings.FieldsSeq(c.Name) {
			seen = append(seen, "__fish_seen_subcommand_from "+part)
		}
		condition := strings.Join(seen, "; and ")
		for _, w := range c.words() {
			name, isFlag := strings.CutPrefix(w.text, "--")
			if !isFlag {
				offer(condition, []word{w})
				continue
			}
			rest := "-l " + name
			if values, needsValue := valued[name]; needsValue {
				rest += " -x"
				if values != nil {
					rest += " -a '" + strings.Join(values, " ") + "'"
				}
			}
			add(condition, rest+" -d "+quotedForFish(w.meaning))
		}
		if c.operand == "file" {
			add(condition, "-F")
		}
	}
}

// quoted quotes a text for bash and zsh.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quotedForFish(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
