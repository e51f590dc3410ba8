package config

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// completions has the script of each shell.
var completions = map[string]func(*strings.Builder){"bash": bash, "zsh": zsh, "fish": fish}

// WriteCompletion writes the completion script of a shell.
func WriteCompletion(w io.Writer, shell string) error {
	var b strings.Builder
	completions[shell](&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// words returns the words that may follow the first words of a command.
func words(before string) []string {
	var found []string
	seen := map[string]bool{}
	for _, c := range Commands[1:] {
		rest, within := strings.CutPrefix(c.Name, before)
		if word, _, _ := strings.Cut(strings.TrimSpace(rest), " "); within && word != "" && !seen[word] {
			seen[word] = true
			found = append(found, word)
		}
	}
	return found
}

func (c *Command) flagNames() []string {
	names := []string{"--help"}
	if c.flags != nil {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		c.flags(new(Config), fs)
		fs.VisitAll(func(f *flag.Flag) { names = append(names, "--"+f.Name) })
	}
	return names
}

// operands are the operands of a command that are known in advance.
func (c *Command) operands() []string {
	if c.operand == "shell" {
		return []string{"bash", "zsh", "fish"}
	}
	return nil
}

func bash(b *strings.Builder) {
	b.WriteString("# bash completion of retrieverkeys\n_retrieverkeys() {\n  local words files=\n  case \"$COMP_CWORD ${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n")
	fmt.Fprintf(b, "    \"1 \"*) words=\"%s help --help --version\" ;;\n", strings.Join(words(""), " "))
	for _, first := range words("") {
		if seconds := group(first); len(seconds) > 0 {
			fmt.Fprintf(b, "    \"2 %s \"*) words=\"%s --help\" ;;\n", first, strings.Join(seconds, " "))
		}
	}
	for _, c := range Commands[1:] {
		files := ""
		if c.operand == "file" {
			files = " files=yes"
		}
		name := c.Name
		if !strings.Contains(name, " ") {
			name += " "
		}
		fmt.Fprintf(b, "    *\" %s\"*) words=\"%s\"%s ;;\n", name, strings.Join(append(c.operands(), c.flagNames()...), " "), files)
	}
	b.WriteString(`  esac
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
  if [ -n "$files" ]; then
    COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -F _retrieverkeys retrieverkeys
`)
}

// zsh runs the script of bash.
func zsh(b *strings.Builder) {
	b.WriteString("#compdef retrieverkeys\nautoload -U +X bashcompinit && bashcompinit\n")
	bash(b)
}

func fish(b *strings.Builder) {
	b.WriteString("# fish completion of retrieverkeys\ncomplete -c retrieverkeys -f\n")
	add := func(condition, rest string) {
		fmt.Fprintf(b, "complete -c retrieverkeys -n '%s' %s\n", condition, rest)
	}
	firsts := words("")
	add("not __fish_seen_subcommand_from "+strings.Join(firsts, " "), "-a '"+strings.Join(append(firsts, "help"), " ")+"'")
	for _, first := range firsts {
		if seconds := group(first); len(seconds) > 0 {
			names := strings.Join(seconds, " ")
			add("__fish_seen_subcommand_from "+first+"; and not __fish_seen_subcommand_from "+names, "-a '"+names+"'")
		}
	}
	for _, c := range Commands[1:] {
		var seen []string
		for word := range strings.FieldsSeq(c.Name) {
			seen = append(seen, "__fish_seen_subcommand_from "+word)
		}
		condition := strings.Join(seen, "; and ")
		for _, name := range c.flagNames() {
			add(condition, "-l "+strings.TrimPrefix(name, "--"))
		}
		if operands := c.operands(); operands != nil {
			add(condition, "-a '"+strings.Join(operands, " ")+"'")
		}
		if c.operand == "file" {
			add(condition, "-F")
		}
	}
}
