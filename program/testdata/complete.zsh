# Types each line and a Tab into an interactive zsh. Prints the line, and what zsh offers: "line:" and "offer:" and a text each.
# Usage: zsh -f complete.zsh SCRIPT LINE...
# Lines are sent when the shell reads keys; before that, the terminal would handle some of them itself.
# What completion functions only compute, with -O, -A or -D, is not offered.
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1= PS2= RPS1=; unsetopt autolist beep; autoload -Uz compinit; compinit -u -D; source '${(q)1}'
compadd() {
  if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
    typeset -a offered; builtin compadd -O offered "$@"
    (( $#offered )) && print -rl -- "offer:"${^offered}
  fi
  builtin compadd "$@"
}
bindkey -e; bindkey "^I" complete-word
zle-line-init() { print -r -- re""ady }; zle -N zle-line-init'
zpty -r -m z text '*ready*'
for line in "${@[2,-1]}"; do
  zpty -w z "$line"$'\t\x15' # Control-U removes the line, and zsh runs an empty one
  zpty -r -m z text '*ready*'
  print -r -- $'\n'"line:$line"$'\n'"$text"
done
zpty -d z
