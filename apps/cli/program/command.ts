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

/** How machines are captured. */
export function addCaptureOptions(to: Command): void {
  to.option('--connect <uri>', 'libvirt of the machine', DEFAULT_LIBVIRT)
    .option('--together', 'capture all machines at one moment')
    .addOption(
      new Option('--consistency <level>', 'fail when a machine gives less')
        .choices(['app', 'file', 'crash', 'best'])
        .default('best'),
    )
    .option('--pause', 'pause a machine that cannot be frozen, for the moment of the capture')
    .option('--memory', 'also capture the memory: a restored machine can go on where it was')
    .addOption(repeatable('--exclude-disk <name>', 'a disk of a machine to leave out'))
    .option('--include-swap', 'also read the swap and page files of a machine')
    .option('--scratch <folder>', 'for what a machine overwrites meanwhile (default: /var/tmp)')
    .option('--scratch-limit <size>', 'end the backup when that takes more, for example 20G')
    .option('--wait <seconds>', 'how long to wait for another job of the machine', '300');
}
