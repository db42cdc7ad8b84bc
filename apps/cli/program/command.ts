/** How commands are described. */
import { type Command, Option } from 'commander';

/** The machines of this host. */
export const DEFAULT_LIBVIRT = 'qemu:///system';

/** Adds a command with examples to its help. */
export function command(
  parent: Command,
  name: string,
  description: string,
  examples: readonly string[],
): Command {
  const lines = examples.map((example) => `  ${example}`).join('\n');
  return parent
    .command(name)
    .description(description)
    .addHelpText('after', `\nExamples:\n${lines}`);
}

/** An option that may be given several times; its values become a list. */
export function repeatable(flags: string, description: string): Option {
  return new Option(flags, description)
    .argParser((value: string, values: readonly string[]) => [...values, value])
    .default([], 'none');
}
