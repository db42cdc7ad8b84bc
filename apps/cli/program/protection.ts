/** `init`, `backup`, `restore`. */
import { type Command, Option } from 'commander';
import type { BackupCommandOptions } from '../commands/backup.ts';
import type { InitCommandOptions } from '../commands/init.ts';
import type { RestoreCommandOptions } from '../commands/restore.ts';
import { addCaptureOptions, command, DEFAULT_LIBVIRT, repeatable } from './command.ts';

export function addProtection(program: Command): void {
  addInit(program);
  addBackup(program);
  addRestore(program);
}

function addInit(program: Command): void {
  command(program, 'init', 'make a repository', [
    'coffer init --repo /srv/backup --passphrase-file ~/pass',
    'coffer init --repo s3://bucket/coffer --keys-from /srv/backup',
    'coffer init --repo /srv/secret --padding full',
  ])
    .option('--recovery-key-file <file>', 'write the recovery key there instead of showing it')
    .option('--keys-from <location>', 'use the keys of that repository')
    .addOption(
      new Option(
        '--padding <how>',
        'what the sizes of what is stored tell of it (default: classes)',
      )
        .choices(['none', 'classes', 'full'])
        .conflicts('keysFrom'),
    )
    .action(async (_options, self: Command) => {
      const { runInit } = await import('../commands/init.ts');
      await runInit(self.optsWithGlobals<InitCommandOptions>());
    });
}

function addBackup(program: Command): void {
  const backup = command(
    program,
    'backup',
    'make a recovery point of a folder, a disk or a machine',
    [
      'coffer backup /home',
      'coffer backup /home --item laptop-home --exclude "*.tmp" --tag plan=daily',
      'coffer backup --disk /var/lib/images/web01.qcow2 --item web01',
      'coffer backup --disk nbd://10.0.0.7/web01 --item web01 --verify',
      'coffer backup vm:web01 --consistency file',
      'coffer backup vm:web01 --memory',
      'coffer backup vm:web01 vm:db01 --together',
    ],
  )
    .argument(
      '<path...>',
      'folder, or vm:NAME...; with --disk an image, a block device or nbd://...',
    )
    .option('--item <name>', 'name of what is protected (default: HOST:PATH)')
    .option('--disk', 'protect the bytes of a disk')
    .option(
      '--format <format>',
      'of the image: raw, qcow2, vhd, vhdx, vmdk or vdi (default: told from its bytes)',
    )
    .addOption(repeatable('--exclude <pattern>', 'leave out, in the syntax of gitignore'))
    .option('--one-file-system', 'do not enter other file systems')
    .addOption(repeatable('--tag <key=value>', 'a tag of the point'))
    .option('--verify', 'read back what is stored, before the point is made')
    .option('--parent <point>', 'know unchanged files from that point; "none" reads all')
    .action(async (paths: string[], _options, self: Command) => {
      const { runBackup } = await import('../commands/backup.ts');
      await runBackup(paths, self.optsWithGlobals<BackupCommandOptions>());
    });
  addCaptureOptions(backup);
}

function addRestore(program: Command): void {
  command(program, 'restore', 'restore a point or a part of it', [
    'coffer restore web01@latest --to /var/lib/images/web01.raw --delta',
    'coffer restore laptop-home@2026-11-20T10:00:documents --to /tmp/documents',
    'coffer restore 3f2a91 --to /tmp/all --include "*.odt"',
    'coffer restore web01@latest/disk/p1:etc --to /tmp/etc',
    'coffer restore vm:web01@latest --as web01-copy --pool default --start',
    'coffer restore vm:web01@latest --as web01-now --folder /srv/images --instant --migrate',
    'coffer restore vm:web01@latest --original --start',
    'coffer restore vm:web01@latest --original --resume',
    'coffer restore vm:web01@latest --disks --to /srv/images --format qcow2',
  ])
    .argument('<point[/disk[/volume]][:path]>', 'point, disk, volume on it, and path of files')
    .option('--to <path>', 'folder that receives the files; image or block device for a disk')
    .option('--as <name>', 'make a new machine of that name')
    .option('--folder <path>', 'that gets the images of the new machine')
    .option('--pool <name>', 'storage pool of libvirt that gets them')
    .option('--instant', 'start it at once, on the disks of the point')
    .option('--migrate', 'then move its disks to images of its own, while it runs')
    .option(
      '--original',
      'stop the machine and give it its disks back; coffer undo has the old ones',
    )
    .option('--yes', 'do not ask before the machine is stopped')
    .option('--disks', 'all disks of a machine as images in the folder --to')
    .addOption(repeatable('--disk <name>', 'only that disk of the machine'))
    .option(
      '--format <format>',
      'of those images: raw, qcow2, vhd, vhdx, vmdk or vdi (default: raw)',
    )
    .option('--connect <uri>', 'libvirt that gets the machine', DEFAULT_LIBVIRT)
    .addOption(repeatable('--network <old=new>', 'network of the new machine'))
    .option('--keep-identity', 'UUID and MACs stay: the original must not run any more')
    .option('--start', 'start the machine')
    .option('--resume', 'go on with the memory of the point, instead of starting')
    .addOption(repeatable('--include <pattern>', 'restore only this, in the syntax of gitignore'))
    .addOption(
      new Option('--on-conflict <mode>', 'what to do with what exists').choices([
        'overwrite',
        'skip',
        'fail',
        'keep-both',
      ]),
    )
    .option('--delta', 'write onto the existing target only what differs')
    .option('--volume-passphrase-file <file>', 'opens encrypted volumes (LUKS)')
    .option('--with-privileges', 'of a volume, also device nodes, set-id bits and capabilities')
    .option('--dry-run', 'tell what would be restored')
    .option('--verify', 'read back and compare with the point')
    .action(async (point: string, _options, self: Command) => {
      const { runRestore } = await import('../commands/restore.ts');
      await runRestore(point, self.optsWithGlobals<RestoreCommandOptions>());
    });
}
