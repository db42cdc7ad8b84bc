/** Completion for zsh. */
import type { CompletionCommand, CompletionOption } from './words.ts';

export function zshCompletion(commands: readonly CompletionCommand[]): string {
  const named = commands.filter(({ name }) => name !== '');
  return `#compdef coffer
# Completion of coffer for zsh. In ~/.zshrc, after compinit: eval "$(coffer completion zsh)"
_coffer() {
  local -a words_before=()
  local word skip=''
  for word in "\${(@)words[2,CURRENT-1]}"; do
    if [[ -n $skip ]]; then skip=''; continue; fi
    case $word in
      ${valueFlags(commands)}) skip=yes ;;
      -*) ;;
      *) words_before+=("$word") ;;
    esac
  done
  local name=\${words_before[1]:-}
  [[ $name == key ]] && name="key\${words_before[2]:+ \${words_before[2]}}"
  case $name in
    '') _arguments -S ${globalOptions(commands)} '1:command:((${named
      .filter(({ name }) => !name.includes(' '))
      .map(({ name, description }) => String.raw`${name}\:"${escape(description)}"`)
      .join(' ')}))' '*::argument:_default' ;;
${named.map(commandCase).join('\n')}
    *) _default ;;
  esac
}
if [[ $funcstack[1] == _coffer ]]; then _coffer "$@"; else compdef _coffer coffer; fi
`;
}

function commandCase({ name, options, words }: CompletionCommand): string {
  const rest = words.length > 0 ? `'*:word:(${words.join(' ')})'` : `'*:argument:_default'`;
  return `    '${name}') _arguments -S ${options.map(optionSpec).join(' ')} ${rest} ;;`;
}

function globalOptions(commands: readonly CompletionCommand[]): string {
  const program = commands.find(({ name }) => name === '');
  return (program?.options ?? []).map(optionSpec).join(' ');
}

/** Options may be given several times, hence the star. */
function optionSpec({ flag, description, takesValue, values }: CompletionOption): string {
  const value = values ? `:value:(${values.join(' ')})` : ':value:_default';
  return `'*${flag}[${escape(description)}]${takesValue ? value : ''}'`;
}

/** Descriptions are evaluated by zsh; what would run something there is left out. */
function escape(text: string): string {
  return text
    .replaceAll(/[`$]/g, '')
    .replaceAll("'", '’')
    .replaceAll(/[[\]:"\\]/g, (letter) => `\\${letter}`);
}

function valueFlags(commands: readonly CompletionCommand[]): string {
  const options = commands.flatMap((command) => command.options);
  return [...new Set(options.filter((each) => each.takesValue).map(({ flag }) => flag))].join('|');
}
