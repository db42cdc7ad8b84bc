/** Completion for bash. */
import type { CompletionCommand } from './words.ts';

export function bashCompletion(commands: readonly CompletionCommand[]): string {
  return `# Completion of coffer for bash. In ~/.bashrc: eval "$(coffer completion bash)"
_coffer() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous='' name='' word index skip=''
  ((COMP_CWORD > 0)) && previous=\${COMP_WORDS[COMP_CWORD - 1]}
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ -n $skip ]]; then skip=''; continue; fi
    if [[ $word == -* ]]; then _coffer_takes_value "$word" && skip=yes; continue; fi
    if [[ -z $name ]]; then name=$word
    elif [[ $name == key || $name == help ]]; then name="$name $word"; fi
  done
  [[ $name == 'help' || $name == 'help '* ]] && { name=''; current=\${current#-}; }
  COMPREPLY=()
  case $previous in
${valueCases(commands)}
  esac
  _coffer_takes_value "$previous" && return
  local options='' words=''
  case $name in
${commands.map(commandCase).join('\n')}
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
}
_coffer_takes_value() {
  case $1 in
    ${valueFlags(commands)}) return 0 ;;
  esac
  return 1
}
complete -o default -o bashdefault -F _coffer coffer
`;
}

function commandCase({ name, options, words }: CompletionCommand): string {
  const flags = options.map(({ flag }) => flag).join(' ');
  return `    '${name}') options='${flags}' words='${words.join(' ')}' ;;`;
}

function valueCases(commands: readonly CompletionCommand[]): string {
  const known = new Map<string, readonly string[]>();
  for (const { flag, values } of commands.flatMap(({ options }) => options)) {
    if (values) known.set(flag, values);
  }
  return [...known]
    .map(([flag, values]) => {
      const words = `compgen -W '${values.join(' ')}' -- "$current"`;
      return `    ${flag}) mapfile -t COMPREPLY < <(${words}); return ;;`;
    })
    .join('\n');
}

function valueFlags(commands: readonly CompletionCommand[]): string {
  const options = commands.flatMap((command) => command.options);
  return [...new Set(options.filter((each) => each.takesValue).map(({ flag }) => flag))].join('|');
}
