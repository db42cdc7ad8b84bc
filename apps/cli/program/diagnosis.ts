/** `benchmark`, `doctor`, `completion`. */
import { Argument, type Command } from 'commander';
import type { Shell } from '../commands/completion.ts';
import type { GlobalOptions } from '../settings.ts';
import { command } from './command.ts';

export function addDiagnosis(program: Command): void {
  command(program, 'benchmark', 'measure this machine and the store', [
    'coffer benchmark',
    'coffer benchmark --repo s3://bucket/coffer --json',
  ]).action(async (_options, self: Command) => {
    const { runBenchmark } = await import('../commands/benchmark.ts');
    await runBenchmark(self.optsWithGlobals<GlobalOptions>());
  });
  command(program, 'doctor', 'look for what keeps backups from working', [
    'coffer doctor',
    'coffer doctor --repo /srv/backup --json',
  ]).action(async (_options, self: Command) => {
    const { runDoctor } = await import('../commands/doctor.ts');
    await runDoctor(self.optsWithGlobals<GlobalOptions>());
  });
  command(program, 'completion', 'print a script that completes commands and options', [
    'eval "$(coffer completion bash)"',
    'coffer completion fish > ~/.config/fish/completions/coffer.fish',
  ])
    .addArgument(new Argument('<shell>', 'shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell) => {
      const { runCompletion } = await import('../commands/completion.ts');
      runCompletion(shell, program);
    });
}
