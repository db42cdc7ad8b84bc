/** The commands and options as completion needs them, taken from the program itself. */
import type { Command, Option } from 'commander';

export interface CompletionOption {
  readonly flag: string;
  readonly description: string;
  readonly takesValue: boolean;
  /** Values it can have; undefined for any, which then are completed as files. */
  readonly values: readonly string[] | undefined;
}

export interface CompletionCommand {
  /** `backup`, or `key add`. */
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletionOption[];
  /** Words that may follow: subcommands, or the values of the first argument. */
  readonly words: readonly string[];
}

/** All commands, the program itself first, under the empty name. */
export function completionCommands(program: Command): CompletionCommand[] {
  const global = program.options.map(toOption);
  return [toCommand(program, '', global), ...below(program, '', global)];
}

function below(
  parent: Command,
  prefix: string,
  global: readonly CompletionOption[],
): CompletionCommand[] {
  return parent.commands.flatMap((command) => {
    const name = `${prefix}${command.name()}`;
    return [toCommand(command, name, global), ...below(command, `${name} `, global)];
  });
}

function toCommand(
  command: Command,
  name: string,
  global: readonly CompletionOption[],
): CompletionCommand {
  const own = name === '' ? [] : command.options.map(toOption);
  const help = { flag: '--help', description: 'show help', takesValue: false, values: undefined };
  const [argument] = command.registeredArguments;
  const subcommands = command.commands.map((each) => each.name());
  return {
    name,
    description: command.description(),
    options: [...own, ...global, help],
    words:
      name === '' ? [...subcommands, 'help'] : [...subcommands, ...(argument?.argChoices ?? [])],
  };
}

function toOption(option: Option): CompletionOption {
  return {
    flag: option.long ?? option.short ?? '',
    description: option.description,
    takesValue: option.required,
    values: option.argChoices,
  };
}
