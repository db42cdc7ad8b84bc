/** What a restore has to know of a machine: where its disks and its state are on the host. */
import { realpathSync, statSync } from 'node:fs';
import { isCofferError, systemErrorCode } from '@coffer/base';
import { backingFilesOf, inspectQcow2 } from '@coffer/disk/qcow2/inspect.ts';
import type { KnownDisk, KnownVm } from '../../vm-host.ts';
import { tpmFolderOf } from '../capture/files.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import type { DiskSource, DomainDisk } from '../domain/disk.ts';
import { parseDomain } from '../domain/domain.ts';
import { pathsOf } from '../domain/paths.ts';
import { withVolumes } from './volumes.ts';

export type KnownParts = Omit<KnownVm, 'isOff' | 'isSaved' | 'isTransient'>;

/** Of a definition for the next start. */
export async function readKnownVm(
  connection: LibvirtConnection,
  xml: string,
  sizeOf: (target: string) => Promise<number | undefined>,
): Promise<KnownParts> {
  const asWritten = parseDomain(xml);
  const { name, uuid, disks, boot, tpm } = await withVolumes(connection, asWritten);
  const known = new Map<string, KnownDisk>();
  for (const [index, disk] of disks.entries()) {
    if (disk.device === 'cdrom' || disk.device === 'floppy') continue;
    const { source } = asWritten.disks[index]!;
    const pool = source.kind === 'volume' ? source.pool : undefined;
    known.set(disk.target, { ...knownDisk(disk), pool, sizeBytes: await sizeOf(disk.target) });
  }
  return {
    name,
    uuid,
    disks: known,
    nvramPath: boot.nvram === undefined ? undefined : realPathOf(boot.nvram),
    hasTpm: tpm?.backend === 'emulator',
    tpmFolder: tpmFolderOf(uuid),
  };
}

function knownDisk(disk: DomainDisk): Omit<KnownDisk, 'pool' | 'sizeBytes'> {
  const { source, format, encryption } = disk;
  const isHere = source.kind === 'file' || source.kind === 'block';
  if (!isHere) {
    const none = { isEncrypted: false, hasDataFile: false };
    return { kind: 'other', path: wordsFor(source), format, ...none };
  }
  const stats = statSync(source.path, { throwIfNoEntry: false });
  const isDevice = stats ? !stats.isFile() : source.kind === 'block';
  const facts = stats && format === 'qcow2' ? factsOf(source.path) : undefined;
  return {
    kind: isDevice ? 'device' : 'file',
    // A device keeps the name that survives a restart of the host.
    path: isDevice ? source.path : realPathOf(source.path),
    format,
    isEncrypted: encryption !== undefined || (facts?.isEncrypted ?? false),
    hasDataFile: facts?.hasDataFile ?? false,
  };
}

function factsOf(path: string): ReturnType<typeof inspectQcow2> {
  try {
    return inspectQcow2(path);
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

function wordsFor(source: DiskSource): string {
  switch (source.kind) {
    case 'network':
      return `${source.protocol} ${source.name} of ${source.hosts.join(', ') || 'a server'}`;
    case 'volume':
      return `volume ${source.volume} of pool ${source.pool}`;
    case 'other':
      return `of type ${source.type}`;
    case 'none':
      return 'empty';
    case 'file':
    case 'block':
    case 'dir':
      return source.path;
  }
}

/** Without symbolic links, as far as the path is there. */
function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return path;
  }
}

/** Whoever else would find other content in these files. By path, the name of a machine. */
export async function othersUsing(
  connection: LibvirtConnection,
  uuid: string,
  paths: readonly string[],
): Promise<Map<string, string>> {
  const wanted = new Map(paths.map((path) => [realPathOf(path), path]));
  const found = new Map<string, string>();
  for (const domain of await connection.domains()) {
    if (domain.uuid === uuid) continue;
    for (const used of await pathsUsedBy(connection, domain)) {
      const path = wanted.get(realPathOf(used));
      if (path !== undefined) found.set(path, domain.name);
    }
  }
  return found;
}

async function pathsUsedBy(connection: LibvirtConnection, domain: Domain): Promise<string[]> {
  try {
    // What it runs on now, and what it will start with.
    const now = await connection.xml(domain);
    const next = await connection.xml(domain, { inactive: true });
    const { disks } = await withVolumes(connection, parseDomain(next));
    const images = disks.flatMap(({ source }) => ('path' in source ? [source.path] : []));
    // A definition need not name what its images lie on.
    const below = images.flatMap(readableBackingOf);
    return [...pathsOf(now), ...pathsOf(next), ...images, ...below];
  } catch (error) {
    // It is gone meanwhile.
    if (isCofferError(error, 'vm-not-found')) return [];
    throw error;
  }
}

function readableBackingOf(path: string): string[] {
  try {
    return backingFilesOf(path);
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return [];
  }
}
