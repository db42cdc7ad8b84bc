/** Completion for fish. */
import type { CompletionCommand, CompletionOption } from './words.ts';

export function fishCompletion(commands: readonly CompletionCommand[]): string {
  const [program, ...named] = commands;
  const lines = [
    '# Completion of coffer for fish: coffer completion fish > ~/.config/fish/completions/coffer.fish',
    ...(program?.options ?? []).map((option) => `complete -c coffer ${optionSpec(option)}`),
    ...named.flatMap((command) => commandLines(command)),
  ];
  return `${lines.join('\n')}\n`;
}

function commandLines({ name, description, options, words }: CompletionCommand): string[] {
  const [first = '', second] = name.split(' ');
  const when =
    second === undefined ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${first}`;
  const inside = `__fish_seen_subcommand_from ${second ?? first}`;
  return [
    `complete -c coffer -n '${when}' -a ${second ?? first} -d '${escape(description)}'`,
    ...options
      .filter((option) => !isGlobal(option))
      .map((option) => `complete -c coffer -n '${inside}' ${optionSpec(option)}`),
    ...(second === undefined && words.length > 0 && first !== 'key'
      ? [`complete -c coffer -n '${inside}' -f -a '${words.join(' ')}'`]
      : []),
  ];
}

const GLOBAL_FLAGS = new Set([
  '--repo',
  '--passphrase-file',
  '--json',
  '--quiet',
  '--version',
  '--help',
]);

/** Those are completed everywhere, by one line of their own. */
function isGlobal({ flag }: CompletionOption): boolean {
  return GLOBAL_FLAGS.has(flag);
}

function optionSpec({ flag, description, takesValue, values }: CompletionOption): string {
  const value = values ? ` -x -a '${values.join(' ')}'` : takesValue ? ' -r' : '';
  return `-l ${flag.replace(/^--/, '')}${value} -d '${escape(description)}'`;
}

function escape(text: string): string {
  return text.replaceAll("'", String.raw`\'`);
}
