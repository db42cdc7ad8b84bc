/** `export`, `serve`, `mount`: what a point is used for besides restoring it. */
import { type Command, Option } from 'commander';
import type { ExportCommandOptions } from '../commands/export.ts';
import type { MountCommandOptions } from '../commands/mount.ts';
import type { ServeCommandOptions } from '../commands/serve.ts';
import { command } from './command.ts';

export function addDisks(program: Command): void {
  addExport(program);
  addServe(program);
  addMount(program);
}

function addExport(program: Command): void {
  command(program, 'export', 'write a disk of a point as an image', [
    'coffer export web01@latest --to web01.vhdx',
    'coffer export web01@latest/disk --to web01.vhd --subformat fixed',
    'coffer export 3f2a91 --to /srv/images/web01 --format qcow2',
  ])
    .argument('<point[/disk]>', 'point, and the disk where it has several')
    .requiredOption('--to <file>', 'image that is written')
    .option('--format <format>', 'raw, qcow2, vhd, vhdx, vmdk or vdi (default: by the name)')
    .addOption(
      new Option('--subformat <subformat>', 'of vhd and vhdx')
        .choices(['fixed', 'dynamic'])
        .default('dynamic'),
    )
    .option('--overwrite', 'replace the file that is there, when all is written')
    .option('--verify', 'read back and compare with the point')
    .action(async (point: string, _options, self: Command) => {
      const { runExport } = await import('../commands/export.ts');
      await runExport(point, self.optsWithGlobals<ExportCommandOptions>());
    });
}

function addServe(program: Command): void {
  command(program, 'serve', 'serve disks of points over NBD, to boot or to read from', [
    'coffer serve web01@latest --socket /tmp/web01.sock',
    'coffer serve web01@latest --socket /tmp/web01.sock --writable /var/tmp/web01.overlay',
    'coffer serve web01@latest db01@latest --listen 10.0.0.5:10809 --tls /etc/pki/nbd',
  ])
    .argument('<point[/disk]...>', 'points, or single disks of them')
    .option('--socket <path>', 'unix socket that only you can connect to')
    .option('--listen <address:port>', 'TCP port; port 0 takes a free one')
    .option('--tls <path>', 'folder of certificates, or file of shared keys (USER:KEY)')
    .option('--writable <overlay>', 'take writes into that local file; the point never changes')
    .action(async (points: string[], _options, self: Command) => {
      const { runServe } = await import('../commands/serve.ts');
      await runServe(points, self.optsWithGlobals<ServeCommandOptions>());
    });
}

function addMount(program: Command): void {
  command(program, 'mount', 'show a point in a folder, read-only', [
    'coffer mount laptop-home@latest /mnt/home',
    'coffer mount web01@latest /mnt/disks',
    'coffer mount web01@latest/disk/p1 /mnt/files',
  ])
    .argument('<point[/disk[/volume]]>', 'files as they are, disks as raw files, or a volume')
    .argument('<folder>', 'an empty folder')
    .option('--volume-passphrase-file <file>', 'opens encrypted volumes (LUKS)')
    .option('--allow-other', 'let other users in')
    .action(async (point: string, folder: string, _options, self: Command) => {
      const { runMount } = await import('../commands/mount.ts');
      await runMount(point, folder, self.optsWithGlobals<MountCommandOptions>());
    });
}
