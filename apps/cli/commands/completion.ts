/** `coffer completion`. */
import type { Command } from 'commander';
import { bashCompletion } from '../completion/bash.ts';
import { fishCompletion } from '../completion/fish.ts';
import { type CompletionCommand, completionCommands } from '../completion/words.ts';
import { zshCompletion } from '../completion/zsh.ts';

export type Shell = 'bash' | 'zsh' | 'fish';

const SCRIPTS: Readonly<Record<Shell, (commands: readonly CompletionCommand[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

export function runCompletion(shell: Shell, program: Command): void {
  process.stdout.write(SCRIPTS[shell](completionCommands(program)));
}
