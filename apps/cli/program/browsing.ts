/** `items`, `points`, `ls`, `cat`, `find`, `diff`. */
import type { Command } from 'commander';
import type { CatCommandOptions } from '../commands/cat.ts';
import type { FindCommandOptions } from '../commands/find.ts';
import type { PointsCommandOptions } from '../commands/list.ts';
import type { LsCommandOptions } from '../commands/ls.ts';
import type { GlobalOptions } from '../settings.ts';
import { command } from './command.ts';

export function addBrowsing(program: Command): void {
  addLists(program);
  addLs(program);
  addCat(program);
  addFind(program);
  addDiff(program);
}

function addLists(program: Command): void {
  command(program, 'items', 'list what is protected', ['coffer items --json']).action(
    async (_options, self: Command) => {
      const { runItems } = await import('../commands/list.ts');
      await runItems(self.optsWithGlobals<GlobalOptions>());
    },
  );
  command(program, 'points', 'list recovery points', ['coffer points --item web01'])
    .option('--item <name>', 'only points of this item')
    .option('--deleted', 'only points that were removed with --keep-for')
    .action(async (_options, self: Command) => {
      const { runPoints } = await import('../commands/list.ts');
      await runPoints(self.optsWithGlobals<PointsCommandOptions>());
    });
}

function addLs(program: Command): void {
  command(program, 'ls', 'list the files, disks or volumes of a point', [
    'coffer ls laptop-home@latest',
    'coffer ls laptop-home@2026-11-20:documents --recursive',
    'coffer ls web01@latest/disk',
    'coffer ls web01@latest/disk/p1:etc',
  ])
    .argument('<point[/disk[/volume]][:path]>', 'point, disk, volume on it, and path')
    .option('--recursive', 'also what is in the folders below')
    .option('--volume-passphrase-file <file>', 'opens encrypted volumes (LUKS)')
    .action(async (point: string, _options, self: Command) => {
      const { runLs } = await import('../commands/ls.ts');
      await runLs(point, self.optsWithGlobals<LsCommandOptions>());
    });
}

function addCat(program: Command): void {
  command(program, 'cat', 'print the bytes of a file', [
    'coffer cat laptop-home@latest:documents/letter.odt > letter.odt',
    'coffer cat web01@latest/disk | sha256sum',
    'coffer cat web01@latest/disk/p1:etc/fstab',
  ])
    .argument('<point[/disk[/volume]][:path]>', 'a file of a point or on a volume, or a whole disk')
    .option('--volume-passphrase-file <file>', 'opens encrypted volumes (LUKS)')
    .action(async (point: string, _options, self: Command) => {
      const { runCat } = await import('../commands/cat.ts');
      await runCat(point, self.optsWithGlobals<CatCommandOptions>());
    });
}

function addFind(program: Command): void {
  command(program, 'find', 'find files in all points', [
    'coffer find "*.odt" --item laptop-home',
    'coffer find "documents/**/letter*"',
  ])
    .argument('<pattern>', 'a name or, with a slash, a path; * ? [a-z] and ** stand for others')
    .option('--item <name>', 'only points of this item')
    .action(async (pattern: string, _options, self: Command) => {
      const { runFind } = await import('../commands/find.ts');
      await runFind(pattern, self.optsWithGlobals<FindCommandOptions>());
    });
}

function addDiff(program: Command): void {
  command(program, 'diff', 'tell what differs between two points', [
    'coffer diff laptop-home@2026-11-19 laptop-home@latest',
    'coffer diff 3f2a91 77b0c2 --json',
  ])
    .argument('<point>', 'the earlier point')
    .argument('<other>', 'the later point')
    .addHelpText(
      'after',
      '\nFiles: A added, R removed, M modified, m only metadata. Disks: offset and length in bytes.',
    )
    .action(async (before: string, after: string, _options, self: Command) => {
      const { runDiff } = await import('../commands/diff.ts');
      await runDiff(before, after, self.optsWithGlobals<GlobalOptions>());
    });
}
