/**
 * Recovery points. A clear header says what a server needs to list, keep, copy and remove a point; a
 * sealed manifest holds the rest. The id of a point is the digest of its record, so a point is the
 * same in every repository of its key domain. FORMAT.md, section 12.
 */
import { CofferError, digest, type Random } from '@coffer/base';
import * as v from 'valibot';
import type { RepositoryKeys } from './keys.ts';
import { count, decodeRecord, encodeRecord, hexOf } from './record.ts';
import { openBox, sealBox } from './sealed-box.ts';

export const POINT_ID_SIZE_BYTES = 16;
export const ITEM_NAME_LENGTH_MAX = 1024;
const TAGS_MAX = 100;

const POINT_KINDS = ['files', 'disk'] as const;
export type PointKind = (typeof POINT_KINDS)[number];

const shortText = v.pipe(v.string(), v.maxLength(ITEM_NAME_LENGTH_MAX));

const Root = v.object({
  /** Id of the root node; the zero id for a disk of zeroes. */
  root: hexOf(32),
  /** Size of a disk, or the sum of the sizes of files, in bytes. */
  sizeBytes: count,
});

const PointRecord = v.object({
  item: v.pipe(shortText, v.minLength(1)),
  kind: v.picklist(POINT_KINDS),
  /** When the state that the point shows was taken, in ms since 1970, by the writer's clock. */
  takenAt: count,
  roots: v.pipe(v.array(Root), v.minLength(1), v.maxLength(1024)),
  tags: v.pipe(
    v.record(shortText, shortText),
    v.check((tags) => Object.keys(tags).length <= TAGS_MAX, 'too many tags'),
  ),
  /** Sealed JSON, in base 64. */
  manifest: v.pipe(v.string(), v.base64(), v.maxLength(32 * 1024 * 1024)),
});

export type PointRecord = v.InferOutput<typeof PointRecord>;
export type PointHeader = Omit<PointRecord, 'manifest'>;
export type PointRoot = PointRecord['roots'][number];

export interface RecoveryPoint extends PointRecord {
  readonly id: string;
  /** The garbage collection that was the newest when the point's session began. */
  readonly generation: number;
  readonly held: boolean;
}

/** A point as it is stored. */
export interface EncodedPoint {
  readonly id: string;
  readonly item: string;
  readonly bytes: Buffer;
}

/** Who can open the manifest, and the randomness of its seal. */
export interface ManifestSeal {
  readonly publicKey: Buffer;
  readonly random: Random;
}

export function encodePoint(
  header: PointHeader,
  manifest: unknown,
  { publicKey, random }: ManifestSeal,
): EncodedPoint {
  const content = Buffer.from(JSON.stringify(manifest), 'utf8');
  const sealed = sealBox({ publicKey, content, associated: associatedData(header), random });
  const record: PointRecord = { ...header, manifest: sealed.toString('base64') };
  const bytes = encodeRecord('point', record);
  return { id: pointIdOf(bytes), item: header.item, bytes };
}

/** The same point for another key domain: with other roots, its manifest sealed to another key. */
export function encodePointAgain(
  point: PointRecord,
  roots: PointRecord['roots'],
  keys: RepositoryKeys,
  seal: ManifestSeal,
): EncodedPoint {
  const { item, kind, takenAt, tags } = point;
  return encodePoint({ item, kind, takenAt, roots, tags }, openManifest(point, keys), seal);
}

/** Fails with `object-damaged` when the bytes are not those that the id promises. */
export function decodePoint(id: string, bytes: Buffer): PointRecord {
  const record = decodeRecord('point', PointRecord, bytes, `point ${id}`);
  if (pointIdOf(bytes) !== id) {
    throw new CofferError('object-damaged', { object: `point ${id}`, reason: 'its name is wrong' });
  }
  return record;
}

/** The manifest of a point, which needs the private key. */
export function openManifest(point: PointRecord, keys: RepositoryKeys): unknown {
  const sealed = Buffer.from(point.manifest, 'base64');
  const content = openBox(keys.privateKey, sealed, associatedData(point));
  try {
    return JSON.parse(content.toString('utf8')) as unknown;
  } catch (error) {
    throw new CofferError('object-damaged', { what: 'manifest', reason: 'not JSON' }, error);
  }
}

function pointIdOf(bytes: Buffer): string {
  return digest(bytes).toString('hex', 0, POINT_ID_SIZE_BYTES);
}

/** Binds the manifest to the header that it came with. */
function associatedData({ item, kind, takenAt, roots }: PointHeader): Buffer {
  const facts = roots.map(({ root, sizeBytes }) => [root, sizeBytes]);
  return Buffer.from(`coffer 1 manifest ${JSON.stringify([item, kind, takenAt, facts])}`, 'utf8');
}

/** Folder of an item's points: names of items may be anything, names of objects may not. */
export function itemFolder(item: string): string {
  return `points/${digest(Buffer.from(item, 'utf8')).toString('hex', 0, 16)}/`;
}

export function pointObjectName(item: string, generation: number, id: string): string {
  return `${itemFolder(item)}${String(generation).padStart(8, '0')}-${id}`;
}

/** Generation and id in the name of a point's object, or undefined for another name. */
export function parsePointObjectName(
  name: string,
): { readonly generation: number; readonly id: string } | undefined {
  const match = /^points\/[0-9a-f]{32}\/(\d{8,})-([0-9a-f]{32})$/.exec(name);
  return match ? { generation: Number(match[1]), id: match[2]! } : undefined;
}
