/** The commands, their options and their help. Each is loaded when it is called. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { BackupCommandOptions } from './commands/backup.ts';
import type { InitCommandOptions } from './commands/init.ts';
import type { PointsCommandOptions } from './commands/list.ts';
import type { RestoreCommandOptions } from './commands/restore.ts';
import type { GlobalOptions } from './settings.ts';

export function buildProgram(): Command {
  const program = new Command('coffer')
    .description('Backup and recovery of machines, disks and files.')
    .version(version())
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .addOption(
      new Option('--repo <location>', 'repository: a path, s3://… or azure://…').env('COFFER_REPO'),
    )
    .addOption(
      new Option('--passphrase-file <file>', 'file that holds the passphrase or recovery key').env(
        'COFFER_PASSPHRASE_FILE',
      ),
    )
    .option('--json', 'print one JSON document on stdout')
    .option('--quiet', 'print results and errors only');
  addWriting(program);
  addReading(program);
  return program;
}

function addWriting(program: Command): void {
  command(program, 'init', 'make a repository', [
    'coffer init --repo /srv/backup --passphrase-file ~/pass',
    'coffer init --repo s3://bucket/coffer --keys-from /srv/backup',
  ])
    .option('--recovery-key-file <file>', 'write the recovery key there instead of showing it')
    .option('--keys-from <location>', 'use the keys of that repository')
    .action(async (_options, self: Command) => {
      const { runInit } = await import('./commands/init.ts');
      await runInit(self.optsWithGlobals<InitCommandOptions>());
    });
  command(program, 'backup', 'make a recovery point of a folder or a disk', [
    'coffer backup /home',
    'coffer backup /home --item laptop-home --exclude "*.tmp" --tag plan=daily',
    'coffer backup --disk /var/lib/images/web01.raw --item web01',
  ])
    .argument('<path>', 'folder; with --disk an image or a block device')
    .option('--item <name>', 'name of what is protected (default: HOST:PATH)')
    .option('--disk', 'protect the bytes of an image or block device')
    .option('--exclude <pattern>', 'leave out, in the syntax of gitignore', collect, [])
    .option('--one-file-system', 'do not enter other file systems')
    .option('--tag <key=value>', 'a tag of the point', collect, [])
    .option('--parent <point>', 'know unchanged files from that point; "none" reads all')
    .action(async (path: string, _options, self: Command) => {
      const { runBackup } = await import('./commands/backup.ts');
      await runBackup(path, self.optsWithGlobals<BackupCommandOptions>());
    });
  command(program, 'restore', 'restore a point or a part of it', [
    'coffer restore web01@latest --to /var/lib/images/web01.raw --delta',
    'coffer restore laptop-home@2026-11-20T10:00:documents --to /tmp/documents',
    'coffer restore 3f2a91 --to /tmp/all --include "*.odt"',
  ])
    .argument('<point[:path]>', 'point, and for files a path in it')
    .requiredOption(
      '--to <path>',
      'folder that receives the files; image or block device for a disk',
    )
    .option('--include <pattern>', 'restore only this, in the syntax of gitignore', collect, [])
    .option('--on-conflict <mode>', 'for what exists: overwrite, skip, fail or keep-both')
    .option('--delta', 'write onto the existing target only what differs')
    .option('--dry-run', 'tell what would be restored')
    .option('--verify', 'read back and compare with the point')
    .action(async (point: string, _options, self: Command) => {
      const { runRestore } = await import('./commands/restore.ts');
      await runRestore(point, self.optsWithGlobals<RestoreCommandOptions>());
    });
}

function addReading(program: Command): void {
  command(program, 'items', 'list what is protected', ['coffer items --json']).action(
    async (_options, self: Command) => {
      const { runItems } = await import('./commands/list.ts');
      await runItems(self.optsWithGlobals<GlobalOptions>());
    },
  );
  command(program, 'points', 'list recovery points', ['coffer points --item web01'])
    .option('--item <name>', 'only points of this item')
    .action(async (_options, self: Command) => {
      const { runPoints } = await import('./commands/list.ts');
      await runPoints(self.optsWithGlobals<PointsCommandOptions>());
    });
}

function command(
  program: Command,
  name: string,
  description: string,
  examples: readonly string[],
): Command {
  const lines = examples.map((example) => `  ${example}`).join('\n');
  return program
    .command(name)
    .description(description)
    .addHelpText('after', `\nExamples:\n${lines}`);
}

function collect(value: string, values: readonly string[]): string[] {
  return [...values, value];
}

function version(): string {
  const file = new URL('./package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
