/** What has to be known of a machine before its backup begins. */
import { CofferError } from '@coffer/base';
import type { CaptureBase } from '../../vm-capture.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import type { DomainDisk } from '../domain/disk.ts';
import type { Domain as Definition } from '../domain/domain.ts';
import { type DiskJudgement, imagePathOf } from '../domain/protectable.ts';
import { nodeNameOf } from '../host/block-nodes.ts';
import { judgedMachine } from '../host/judged-machine.ts';
import { bitmapsOf, type DirtyBitmap } from './bitmaps.ts';
import { adoptCheckpoint, removeBroken, removeStray } from './checkpoints.ts';
import { identitiesOf } from './image-identity.ts';
import { type PlannedDisk, planDisks, type TrackedDisk, type TrackingState } from './plan.ts';

export interface Machine {
  readonly domain: Domain;
  /** As it is to be restored: with its secrets, and without what belongs to its run. */
  readonly xml: string;
  readonly definition: Definition;
  readonly judgements: readonly DiskJudgement[];
  readonly plan: readonly PlannedDisk[];
  /** Those that are protected, by target. */
  readonly disks: ReadonlyMap<string, ExaminedDisk>;
}

export interface ExaminedDisk extends TrackedDisk {
  readonly path: string;
  readonly format: string;
  readonly allocatedBytes: number;
  /** Overwritten since the base; undefined when nobody has counted. */
  readonly dirtyBytes: number | undefined;
}

export interface ExamineOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly base: CaptureBase | undefined;
  readonly exclude: readonly string[];
  /** Of checkpoints that are ours. */
  readonly checkpointPrefix: string;
}

/**
 * Removes checkpoints and bitmaps of ours that are of no use, too. Fails with `source-not-found` when
 * no disk is left.
 */
export async function examine(options: ExamineOptions): Promise<Machine> {
  const { connection, domain, exclude, base } = options;
  const { definition, judgements } = await judgedMachine(connection, domain, { exclude });
  const wanted = judgements.filter(({ protection }) => protection !== 'excluded');
  if (wanted.length === 0) {
    throw new CofferError('source-not-found', { vm: domain.name, reason: 'no disk to protect' });
  }
  const bitmaps = await bitmapsOf(connection, domain);
  await removeBroken(connection, domain, bitmaps);
  const checkpoint = await stateOfCheckpoint(options, bitmaps);
  await removeStray(connection, domain, { prefix: options.checkpointPrefix });
  const disks = new Map<string, ExaminedDisk>();
  for (const { disk } of wanted) {
    disks.set(disk.target, await examineDisk(options, disk, bitmaps));
  }
  return {
    domain,
    xml: await connection.xml(domain, { inactive: true, secure: true, migratable: true }),
    definition,
    judgements,
    plan: planDisks(judgements, base, { checkpoint, disks }),
    disks,
  };
}

/** That of the base is made known where its bitmaps have come here with the images. */
async function stateOfCheckpoint(
  { connection, domain, base }: ExamineOptions,
  bitmaps: readonly DirtyBitmap[],
): Promise<TrackingState['checkpoint']> {
  if (!base) return 'unknown';
  const known = await connection.checkpoints(domain);
  if (known.some(({ name }) => name === base.checkpoint)) return 'known';
  const isHere = bitmaps.some(({ name, isIntact }) => isIntact && name === base.checkpoint);
  if (!isHere || base.checkpointXml === undefined) return 'unknown';
  return (await adoptCheckpoint(connection, domain, base.checkpointXml)) ? 'adopted' : 'unknown';
}

async function examineDisk(
  { connection, domain, base }: ExamineOptions,
  disk: DomainDisk,
  bitmaps: readonly DirtyBitmap[],
): Promise<ExaminedDisk> {
  const path = imagePathOf(disk) ?? '';
  const ofDisk = bitmaps.filter((each) => isOfDisk(each, disk));
  const bitmap = ofDisk.find(({ name }) => name === base?.checkpoint);
  const isIntact = bitmap?.isIntact ?? false;
  const { capacityBytes, physicalBytes } = await connection.blockInfo(domain, disk.target);
  return {
    path,
    format: disk.format,
    sizeBytes: capacityBytes,
    allocatedBytes: Math.min(physicalBytes, capacityBytes),
    identities: identitiesOf(disk),
    isIntact,
    dirtyBytes: isIntact ? bitmap?.dirtyBytes : undefined,
  };
}

/** By its node: paths can be written in several ways, and images on servers have none. */
function isOfDisk({ node, image }: DirtyBitmap, disk: DomainDisk): boolean {
  const name = nodeNameOf(disk);
  return name === undefined ? image === imagePathOf(disk) : node === name;
}
