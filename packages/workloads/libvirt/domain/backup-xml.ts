/**
 * What libvirt is asked for at the begin of a backup: `<domainbackup>`, which exports the disks as
 * they are at that moment on an NBD socket, `<domaincheckpoint>`, from which on it tracks what
 * changes, and `<domainsnapshot>`, of the memory only (libvirt: Backup XML format, Checkpoint XML
 * format, Snapshot XML format).
 */
import { CofferError } from '@coffer/base';
import { element, malformed, serializeXml, type XmlElement } from './xml.ts';

export interface Backup {
  /** Path of the socket that QEMU is to make. */
  readonly socketPath: string;
  /** All disks of the machine: one that is not named would be libvirt's choice. */
  readonly disks: readonly BackupDisk[];
}

export type BackupDisk =
  | { readonly target: string; readonly mode: 'none' }
  | (ExportedDisk & { readonly mode: 'full' })
  | (ExportedDisk & {
      readonly mode: 'incremental';
      /** Checkpoint since which changes are asked for. */
      readonly base: string;
      /** Name of the dirty bitmap in the export: `qemu:dirty-bitmap:NAME`. */
      readonly exportBitmap: string;
    });

export interface ExportedDisk {
  readonly target: string;
  /** Name of the NBD export. */
  readonly exportName: string;
  /** A qcow2 file that QEMU makes for what the guest overwrites meanwhile. */
  readonly scratchPath: string;
}

export interface Checkpoint {
  /** Unique in the machine for ever: bitmaps of that name may be left in images. */
  readonly name: string;
  /** All disks of the machine. */
  readonly disks: readonly { readonly target: string; readonly isTracked: boolean }[];
}

/** `sun_path` of Linux without the zero at its end. */
const SOCKET_PATH_BYTES_MAX = 107;
const CHECKPOINT_NAME = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,126}$/;

/** Fails with `usage` when the path of the socket is longer than the kernel allows. */
export function backupXml({ socketPath, disks }: Backup): string {
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    const details = { reason: 'socket path too long', path: socketPath };
    throw new CofferError('usage', { ...details, bytesMax: SOCKET_PATH_BYTES_MAX });
  }
  return serializeXml(
    element('domainbackup', { mode: 'pull' }, [
      element('server', { transport: 'unix', socket: socketPath }),
      element('disks', {}, disks.map(backupDisk)),
    ]),
  );
}

/** A snapshot of the memory in a file, and of none of the disks, which have to be all there are. */
export function memoryXml(path: string, targets: readonly string[]): string {
  return serializeXml(
    element('domainsnapshot', {}, [
      element('memory', { snapshot: 'external', file: path }),
      element(
        'disks',
        {},
        targets.map((name) => element('disk', { name, snapshot: 'no' })),
      ),
    ]),
  );
}

function backupDisk(disk: BackupDisk): XmlElement {
  if (disk.mode === 'none') return element('disk', { name: disk.target, backup: 'no' });
  const isIncremental = disk.mode === 'incremental';
  const attributes = {
    name: disk.target,
    backup: 'yes',
    type: 'file',
    backupmode: disk.mode,
    incremental: isIncremental ? disk.base : undefined,
    exportname: disk.exportName,
    exportbitmap: isIncremental ? disk.exportBitmap : undefined,
  };
  return element('disk', attributes, [
    element('driver', { type: 'qcow2' }),
    element('scratch', { file: disk.scratchPath }),
  ]);
}

/** Undefined when no disk is tracked: libvirt makes no checkpoint of nothing. */
export function checkpointXml({ name, disks }: Checkpoint): string | undefined {
  if (!CHECKPOINT_NAME.test(name)) throw malformed('name of a checkpoint', name);
  if (!disks.some(({ isTracked }) => isTracked)) return undefined;
  return serializeXml(
    element('domaincheckpoint', {}, [
      element('name', {}, [name]),
      element('disks', {}, disks.map(checkpointDisk)),
    ]),
  );
}

function checkpointDisk({ target, isTracked }: Checkpoint['disks'][number]): XmlElement {
  return element('disk', { name: target, checkpoint: isTracked ? 'bitmap' : 'no' });
}
