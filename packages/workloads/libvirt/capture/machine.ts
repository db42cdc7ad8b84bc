/** What has to be known of a machine before its backup begins. */
import { CofferError } from '@coffer/base';
import type { CaptureBase } from '../../vm-capture.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { type Domain as Definition, parseDomain } from '../domain/domain.ts';
import { type DiskJudgement, imagePathOf, judgeDisks } from '../domain/protectable.ts';
import { type DirtyBitmap, intactBitmaps } from './bitmaps.ts';
import { adoptCheckpoint, removeBroken } from './checkpoints.ts';
import { type PlannedDisk, planDisks } from './plan.ts';

export interface Machine {
  readonly domain: Domain;
  /** As it is to be restored: with its secrets, and without what belongs to its run. */
  readonly xml: string;
  readonly definition: Definition;
  readonly judgements: readonly DiskJudgement[];
  readonly plan: readonly PlannedDisk[];
  /** Of the disks that are protected, by target. */
  readonly images: ReadonlyMap<string, string>;
  readonly sizes: ReadonlyMap<string, DiskSizes>;
}

export interface DiskSizes {
  readonly capacityBytes: number;
  readonly allocatedBytes: number;
  /** Overwritten since the base; undefined when nobody has counted. */
  readonly dirtyBytes: number | undefined;
}

export interface ExamineOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly base: CaptureBase | undefined;
  readonly exclude: readonly string[];
}

/** Removes broken checkpoints of ours, too. Fails with `source-not-found` when no disk is left. */
export async function examine(options: ExamineOptions): Promise<Machine> {
  const { connection, domain, exclude, base } = options;
  const definition = parseDomain(await connection.xml(domain));
  const judgements = judgeDisks(definition, { exclude });
  const wanted = judgements.filter(({ protection }) => protection !== 'excluded');
  if (wanted.length === 0) {
    throw new CofferError('source-not-found', { vm: domain.name, reason: 'no disk to protect' });
  }
  const images = new Map(wanted.map(({ disk }) => [disk.target, imagePathOf(disk) ?? '']));
  const bitmaps = await intactBitmaps(connection, domain);
  await removeBroken(connection, domain, bitmaps);
  const checkpoints = await knownCheckpoints(options, bitmaps);
  const intact = dirtyBytesOf(images, bitmaps, base);
  const sizes = await sizesOf(options, images, intact);
  const capacities = new Map(
    [...sizes].map(([target, { capacityBytes }]) => [target, capacityBytes]),
  );
  return {
    domain,
    xml: await connection.xml(domain, { inactive: true, secure: true, migratable: true }),
    definition,
    judgements,
    plan: planDisks(judgements, base, { checkpoints, intact, sizes: capacities }),
    images,
    sizes,
  };
}

/** With that of the base, where its bitmaps have come here with the images. */
async function knownCheckpoints(
  { connection, domain, base }: ExamineOptions,
  bitmaps: readonly DirtyBitmap[],
): Promise<ReadonlySet<string>> {
  const known = new Set((await connection.checkpoints(domain)).map(({ name }) => name));
  if (base?.checkpointXml === undefined || known.has(base.checkpoint)) return known;
  const isHere = bitmaps.some(({ name }) => name === base.checkpoint);
  if (isHere && (await adoptCheckpoint(connection, domain, base.checkpointXml))) {
    known.add(base.checkpoint);
  }
  return known;
}

/** Of the disks whose bitmap of the base is intact, by target. */
function dirtyBytesOf(
  images: ReadonlyMap<string, string>,
  bitmaps: readonly DirtyBitmap[],
  base: CaptureBase | undefined,
): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [target, path] of images) {
    const bitmap = bitmaps.find(({ image, name }) => image === path && name === base?.checkpoint);
    if (bitmap) found.set(target, bitmap.dirtyBytes);
  }
  return found;
}

async function sizesOf(
  { connection, domain }: ExamineOptions,
  images: ReadonlyMap<string, string>,
  dirtyBytes: ReadonlyMap<string, number>,
): Promise<ReadonlyMap<string, DiskSizes>> {
  const sizes = new Map<string, DiskSizes>();
  for (const target of images.keys()) {
    const { capacityBytes, physicalBytes } = await connection.blockInfo(domain, target);
    const allocatedBytes = Math.min(physicalBytes, capacityBytes);
    sizes.set(target, { capacityBytes, allocatedBytes, dirtyBytes: dirtyBytes.get(target) });
  }
  return sizes;
}
