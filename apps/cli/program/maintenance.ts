/** `gc`, `verify`, `repair`, `copy`. */
import type { Command } from 'commander';
import type { CopyCommandOptions } from '../commands/copy.ts';
import type { GcCommandOptions } from '../commands/gc.ts';
import type { RepairCommandOptions } from '../commands/repair.ts';
import type { VerifyCommandOptions } from '../commands/verify.ts';
import { command } from './command.ts';

export function addMaintenance(program: Command): void {
  addGc(program);
  addVerify(program);
  addRepair(program);
  addCopy(program);
}

function addGc(program: Command): void {
  command(program, 'gc', 'free the space of what no point needs', [
    'coffer gc --dry-run',
    'coffer gc',
  ])
    .option('--dry-run', 'tell what would be done')
    .action(async (_options, self: Command) => {
      const { runGc } = await import('../commands/gc.ts');
      await runGc(self.optsWithGlobals<GcCommandOptions>());
    });
}

function addVerify(program: Command): void {
  command(program, 'verify', 'check that points can be restored whole', [
    'coffer verify',
    'coffer verify --read-data=10',
    'coffer verify web01@latest --read-data',
  ])
    .argument('[point...]', 'points; all of them when none is named')
    .option('--read-data [percent]', 'also read stored data, or that part of it: --read-data=10')
    .action(async (points: string[], _options, self: Command) => {
      const { runVerify } = await import('../commands/verify.ts');
      await runVerify(points, self.optsWithGlobals<VerifyCommandOptions>());
    });
}

function addRepair(program: Command): void {
  command(program, 'repair', 'drop exactly what is damaged, keep all else', [
    'coffer repair',
    'coffer repair --rebuild-index',
  ])
    .option('--rebuild-index', 'make the index anew from the packs')
    .action(async (_options, self: Command) => {
      const { runRepair } = await import('../commands/repair.ts');
      await runRepair(self.optsWithGlobals<RepairCommandOptions>());
    });
}

function addCopy(program: Command): void {
  command(program, 'copy', 'copy points to another repository', [
    'coffer copy --from /srv/backup --to s3://bucket/coffer',
    'coffer copy --from /srv/backup --to /mnt/usb --item web01',
  ])
    .requiredOption('--from <location>', 'repository that has the points')
    .requiredOption('--to <location>', 'repository that gets them')
    .option('--item <name>', 'only points of this item')
    .option('--point <point>', 'only this point')
    .option(
      '--to-passphrase-file <file>',
      'passphrase of the other repository, where it has other keys (or COFFER_TO_PASSPHRASE)',
    )
    .action(async (_options, self: Command) => {
      const { runCopy } = await import('../commands/copy.ts');
      await runCopy(self.optsWithGlobals<CopyCommandOptions>());
    });
}
