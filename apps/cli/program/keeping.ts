/** `remove`, `undelete`, `hold`, `release` and `key`. */
import type { Command } from 'commander';
import type { HolderOptions, HoldCommandOptions, RemoveCommandOptions } from '../commands/keep.ts';
import type { KeyAddOptions, KeyRecoveryOptions, KeyWriterOptions } from '../commands/key.ts';
import type { GlobalOptions } from '../settings.ts';
import { command } from './command.ts';

export function addKeeping(program: Command): void {
  addPoints(program);
  addKeys(program);
}

function addPoints(program: Command): void {
  command(program, 'remove', 'remove points; gc then frees their space', [
    'coffer remove 3f2a91 77b0c2',
    'coffer remove laptop-home@2025-01-01 --dry-run',
    'coffer remove 3f2a91 --keep-for 14',
  ])
    .argument('<point...>', 'points')
    .option('--dry-run', 'tell what would be removed')
    .option('--keep-for <days>', 'only hide them, and keep them so long')
    .action(async (points: string[], _options, self: Command) => {
      const { runRemove } = await import('../commands/keep.ts');
      await runRemove(points, self.optsWithGlobals<RemoveCommandOptions>());
    });
  command(program, 'undelete', 'bring back a point that was removed with --keep-for', [
    'coffer undelete 3f2a91',
  ])
    .argument('<point>', 'point; coffer points --deleted lists them')
    .action(async (point: string, _options, self: Command) => {
      const { runUndelete } = await import('../commands/keep.ts');
      await runUndelete(point, self.optsWithGlobals<GlobalOptions>());
    });
  addHolds(program);
}

const HOLDER_DEFAULT = 'person';

function addHolds(program: Command): void {
  command(program, 'hold', 'keep a point from being removed', [
    'coffer hold web01@latest',
    'coffer hold 3f2a91 --reason "audit of 2026" --until 2027-03-31',
  ])
    .argument('<point>', 'point')
    .option('--reason <text>', 'why', '')
    .option('--until <time>', 'when it ends by itself')
    .option('--as <holder>', 'whose hold it is', HOLDER_DEFAULT)
    .action(async (point: string, _options, self: Command) => {
      const { runHold } = await import('../commands/keep.ts');
      await runHold(point, self.optsWithGlobals<HoldCommandOptions>());
    });
  command(program, 'release', 'end a hold of a point; those of other holders stay', [
    'coffer release 3f2a91',
  ])
    .argument('<point>', 'point')
    .option('--as <holder>', 'whose hold it is', HOLDER_DEFAULT)
    .action(async (point: string, _options, self: Command) => {
      const { runRelease } = await import('../commands/keep.ts');
      await runRelease(point, self.optsWithGlobals<HolderOptions>());
    });
}

function addKeys(program: Command): void {
  const key = command(program, 'key', 'see and change what opens the repository', [
    'coffer key list',
    'coffer key add --new-passphrase-file ~/new-pass',
  ]);
  command(key, 'list', 'list key slots', ['coffer key list --json']).action(
    async (_options, self: Command) => {
      const { runKeyList } = await import('../commands/key.ts');
      await runKeyList(self.optsWithGlobals<GlobalOptions>());
    },
  );
  command(key, 'add', 'add a passphrase', [
    'coffer key add --new-passphrase-file ~/new-pass --label backup-operator',
  ])
    .option('--new-passphrase-file <file>', 'file that holds it (or COFFER_NEW_PASSPHRASE)')
    .option('--label <text>', 'what it is for', 'added')
    .action(async (_options, self: Command) => {
      const { runKeyAdd } = await import('../commands/key.ts');
      await runKeyAdd(self.optsWithGlobals<KeyAddOptions>());
    });
  command(key, 'remove', 'remove a key slot, with a passphrase that opens another one', [
    'coffer key remove 5d81 --passphrase-file ~/new-pass',
  ])
    .argument('<slot>', 'slot, or 4 or more of its first characters')
    .action(async (slot: string, _options, self: Command) => {
      const { runKeyRemove } = await import('../commands/key.ts');
      await runKeyRemove(slot, self.optsWithGlobals<GlobalOptions>());
    });
  command(key, 'writer', 'write a key for a host that makes points and reads none', [
    'coffer key writer --to ./web01.key',
    'coffer backup /srv --writer-key-file ./web01.key',
  ])
    .requiredOption('--to <file>', 'the file, which must not exist')
    .action(async (_options, self: Command) => {
      const { runKeyWriter } = await import('../commands/key.ts');
      await runKeyWriter(self.optsWithGlobals<KeyWriterOptions>());
    });
  command(key, 'recovery', 'make a new recovery key in place of the earlier ones', [
    'coffer key recovery --recovery-key-file /media/stick/coffer-key',
  ])
    .option('--recovery-key-file <file>', 'write it there instead of showing it')
    .action(async (_options, self: Command) => {
      const { runKeyRecovery } = await import('../commands/key.ts');
      await runKeyRecovery(self.optsWithGlobals<KeyRecoveryOptions>());
    });
}
