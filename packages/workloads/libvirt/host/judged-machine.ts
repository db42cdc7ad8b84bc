/**
 * A machine of the host with its volumes found and each of its disks judged: by what its image is,
 * which its definition does not tell. What people are told of a machine, and what its backup does, are
 * both by this.
 */
import { inspectQcow2 } from '@coffer/disk/qcow2/inspect.ts';
import { systemErrorCode } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../connection.ts';
import type { DomainDisk } from '../domain/disk.ts';
import { type Domain as Definition, parseDomain } from '../domain/domain.ts';
import {
  type DiskJudgement,
  imagePathOf,
  judgeDisks,
  type JudgeOptions,
} from '../domain/protectable.ts';
import { type BlockNode, blockNodesOf, nodeNameOf } from './block-nodes.ts';
import { withVolumes } from './volumes.ts';

export interface JudgedMachine {
  readonly definition: Definition;
  readonly judgements: readonly DiskJudgement[];
}

/** Fails with `usage` when a disk to exclude is not there. */
export async function judgedMachine(
  connection: LibvirtConnection,
  domain: Domain,
  { exclude }: Pick<JudgeOptions, 'exclude'>,
): Promise<JudgedMachine> {
  const definition = await withVolumes(connection, parseDomain(await connection.xml(domain)));
  const versions = await versionsOf(connection, domain, definition);
  return { definition, judgements: judgeDisks(definition, { exclude, versions }) };
}

/** By target, of qcow2 images, as far as somebody can tell. */
async function versionsOf(
  connection: LibvirtConnection,
  domain: Domain,
  { disks }: Definition,
): Promise<ReadonlyMap<string, number>> {
  const versions = new Map<string, number>();
  const unread: DomainDisk[] = [];
  // A path of another host may be that of a file here.
  const isLocal = connection.socketPath !== undefined;
  for (const disk of disks.filter(({ format }) => format === 'qcow2')) {
    const version = isLocal ? versionInHeader(disk) : undefined;
    if (version === undefined) unread.push(disk);
    else versions.set(disk.target, version);
  }
  // While the machine runs, QEMU knows.
  if (unread.length === 0 || domain.id === -1) return versions;
  const nodes = await blockNodesOf(connection, domain);
  for (const disk of unread) {
    const version = versionIn(nodes, disk);
    if (version !== undefined) versions.set(disk.target, version);
  }
  return versions;
}

function versionInHeader(disk: DomainDisk): number | undefined {
  const path = imagePathOf(disk);
  if (path === undefined) return undefined;
  try {
    return inspectQcow2(path)?.version;
  } catch (error) {
    // It is not there, or not for us.
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

function versionIn(nodes: readonly BlockNode[], disk: DomainDisk): number | undefined {
  const compat = nodes.find(({ name }) => name === nodeNameOf(disk))?.compat;
  if (compat === undefined) return undefined;
  return compat === '0.10' ? 2 : 3;
}
