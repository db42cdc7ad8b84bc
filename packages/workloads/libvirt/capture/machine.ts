/** What has to be known of a machine before its backup begins. */
import { CofferError } from '@coffer/base';
import type { CaptureBase } from '../../vm-capture.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { type Domain as Definition, parseDomain } from '../domain/domain.ts';
import { type DiskJudgement, judgeDisks } from '../domain/protectable.ts';
import { imagesWithBitmap } from './bitmaps.ts';
import { removeBroken } from './checkpoints.ts';
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
  const images = new Map(wanted.map(({ disk }) => [disk.target, imagePath(disk)]));
  const tracked = wanted.filter(({ protection }) => protection === 'incremental');
  await removeBroken(
    connection,
    domain,
    tracked.map(({ disk }) => imagePath(disk)),
  );
  return {
    domain,
    xml: await connection.xml(domain, { inactive: true, secure: true, migratable: true }),
    definition,
    judgements,
    plan: planDisks(judgements, base, {
      checkpoints: new Set((await connection.checkpoints(domain)).map(({ name }) => name)),
      intact: await intactDisks(options, images),
      sizes: await sizesOf(options, [...images.keys()]),
    }),
    images,
  };
}

async function intactDisks(
  { connection, domain, base }: ExamineOptions,
  images: ReadonlyMap<string, string>,
): Promise<ReadonlySet<string>> {
  if (!base) return new Set();
  const intact = await imagesWithBitmap(connection, domain, base.checkpoint);
  return new Set([...images.keys()].filter((target) => intact.has(images.get(target) ?? '')));
}

async function sizesOf(
  { connection, domain }: ExamineOptions,
  targets: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>();
  for (const target of targets) {
    sizes.set(target, (await connection.blockInfo(domain, target)).capacityBytes);
  }
  return sizes;
}

function imagePath({ source }: DiskJudgement['disk']): string {
  return source.kind === 'file' || source.kind === 'block' ? source.path : '';
}
