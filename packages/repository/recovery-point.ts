/**
 * Recovery points. A clear header says what a server needs to list, keep, copy and remove a point; a
 * sealed manifest holds the rest. The id of a point is the digest of its record, so a point is the
 * same in every repository of its key domain; its MAC tells who has the hash key that a writer of the
 * domain made it, and that nobody changed it. FORMAT.md, section 12.
 */
import { CofferError, digest, type Random } from '@coffer/base';
import * as v from 'valibot';
import type { Deletion } from './deleted-points.ts';
import type { RepositoryKeys, WriterKeys } from './keys.ts';
import {
  count,
  decodeRecord,
  encodeChecked,
  hexOf,
  refuseUnreadable,
  shortText,
} from './record.ts';
import { macFault, type MacKey, macOf } from './record-mac.ts';
import { openNotes, sealNotes } from './notes.ts';
import { openBox, sealBox } from './sealed-box.ts';
import { formatGeneration, parseGeneration } from './generations/generation.ts';

export const POINT_ID_SIZE_BYTES = 16;
const TAGS_MAX = 100;

const POINT_KINDS = ['files', 'disk', 'vm'] as const;
export type PointKind = (typeof POINT_KINDS)[number];

/** Disks are shown as files of these names, so they are names everywhere. */
const rootName = v.pipe(v.string(), v.regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/));

const Root = v.object({
  /** Of a disk, in its point; of a folder always `files`. */
  name: rootName,
  /** Id of the root node; the zero id for a disk of zeroes. */
  root: hexOf(32),
  /** Size of a disk, or the sum of the sizes of files, in bytes. */
  sizeBytes: count,
});

/** Names that are no members of their own in JavaScript, and would be lost. */
const TAG_NAMES_REFUSED: readonly string[] = ['__proto__', 'constructor', 'prototype'];

function areTagNames(tags: unknown): boolean {
  if (typeof tags !== 'object' || tags === null) return false;
  return !Object.keys(tags).some((name) => TAG_NAMES_REFUSED.includes(name));
}

const PointFields = v.object({
  item: v.pipe(shortText, v.minLength(1)),
  kind: v.picklist(POINT_KINDS),
  /** When the state that the point shows was taken, in ms since 1970, by the writer's clock. */
  takenAt: count,
  roots: v.pipe(v.array(Root), v.minLength(1), v.maxLength(1024)),
  tags: v.pipe(
    v.custom<object>(areTagNames, 'a tag cannot have this name'),
    v.record(shortText, shortText),
    v.check((tags) => Object.keys(tags).length <= TAGS_MAX, 'too many tags'),
  ),
  /** Id of the point of another key domain that it was copied from, first of all. */
  copyOf: v.optional(hexOf(POINT_ID_SIZE_BYTES)),
  /** For the writer of the next point, see `notes.ts`; in base 64. */
  notes: v.optional(v.pipe(v.string(), v.base64(), v.maxLength(32 * 1024 * 1024))),
  /** Sealed JSON, in base 64. */
  manifest: v.pipe(v.string(), v.base64(), v.maxLength(32 * 1024 * 1024)),
  /** The last member, see `record-mac.ts`. */
  mac: hexOf(32),
});

const PointRecord = v.pipe(
  PointFields,
  v.check(({ kind, roots }) => areNamed(kind, roots), 'names of roots do not fit the kind'),
);

/** The name of the one root of a point of files. */
export const FILES_ROOT_NAME = 'files';
/** The name of the disk where a point has one, and its source no name for it. */
export const DISK_ROOT_NAME = 'disk';

function areNamed(kind: PointKind, roots: readonly PointRoot[]): boolean {
  if (kind === 'files') return roots.length === 1 && roots[0]!.name === FILES_ROOT_NAME;
  return new Set(roots.map(({ name }) => name)).size === roots.length;
}

export type PointRecord = v.InferOutput<typeof PointRecord>;
export type PointHeader = Omit<PointRecord, 'notes' | 'manifest' | 'mac'>;

export type PointRoot = v.InferOutput<typeof Root>;

export interface RecoveryPoint extends PointRecord {
  readonly id: string;
  /** The garbage collection that was the newest when the point's session began. */
  readonly generation: number;
  /** Whether any hold of it is in force. */
  readonly held: boolean;
  /** Undefined unless it was deleted for a while, and is hidden. */
  readonly deletion: Deletion | undefined;
}

/** A point as it is stored. */
export interface EncodedPoint {
  readonly id: string;
  readonly item: string;
  readonly bytes: Buffer;
}

/** The keys of the domain that the point is for, and the randomness of its manifest's seal. */
export interface PointSeal extends WriterKeys {
  readonly random: Random;
}

/** Fails with `usage` when a point cannot have these labels. */
export function checkPointLabels(labels: Pick<PointHeader, 'item' | 'tags'>): void {
  refuseUnreadable(v.pick(PointFields, ['item', 'tags']), labels);
}

/**
 * The manifest is for who has the private key; notes are for who writes the next point, where that has
 * to know anything. Fails with `usage` for what nobody could read again.
 */
export function encodePoint(
  header: PointHeader,
  manifest: unknown,
  { publicKey, hashKey, random }: PointSeal,
  notes?: unknown,
): EncodedPoint {
  const content = Buffer.from(JSON.stringify(manifest), 'utf8');
  const sealed = sealBox({ publicKey, content, associated: factsOf('manifest', header), random });
  const { item, kind, takenAt, roots, tags, copyOf } = header;
  const origin = copyOf === undefined ? {} : { copyOf };
  const said = { item, kind, takenAt, roots, tags, ...origin };
  const noted =
    notes === undefined ? {} : { notes: sealedNotes(header, notes, { hashKey, random }) };
  const record = { ...said, ...noted, manifest: sealed.toString('base64') };
  const mac = macOf('point', record, macKey(hashKey));
  const bytes = encodeChecked('point', PointRecord, { ...record, mac });
  return { id: pointIdOf(bytes), item, bytes };
}

function sealedNotes(
  header: PointHeader,
  notes: unknown,
  seal: Pick<PointSeal, 'hashKey' | 'random'>,
): string {
  return sealNotes(notes, { ...seal, associated: factsOf('notes', header) }).toString('base64');
}

/**
 * What the writer of a point has noted for that of the next one; undefined when it has noted nothing.
 * Needs no private key. Fails with `object-damaged`.
 */
export function openNotesOf(point: PointRecord, { hashKey }: Pick<WriterKeys, 'hashKey'>): unknown {
  if (point.notes === undefined) return undefined;
  const sealed = Buffer.from(point.notes, 'base64');
  return openNotes(sealed, { hashKey, associated: factsOf('notes', point) });
}

/** By which a point and its copies in other key domains are known as the same. */
export function originOf({ id, copyOf }: Pick<RecoveryPoint, 'id' | 'copyOf'>): string {
  return copyOf ?? id;
}

/** The same point for another key domain: with other roots, keys, and so another MAC and id. */
export function encodePointAgain(
  point: PointRecord & Pick<RecoveryPoint, 'id'>,
  roots: PointRecord['roots'],
  keys: RepositoryKeys,
  seal: PointSeal,
): EncodedPoint {
  const { item, kind, takenAt, tags } = point;
  const header = { item, kind, takenAt, roots, tags, copyOf: originOf(point) };
  // Notes are for writers at their own repository, whose next points are not made here.
  return encodePoint(header, openManifest(point, keys), seal);
}

/**
 * Fails with `object-damaged` when the bytes are not those that the id promises, or, with a hash key,
 * when no writer who had it made them.
 */
export function decodePoint(id: string, bytes: Buffer, hashKey?: Buffer): PointRecord {
  const object = `point ${id}`;
  const record = decodeRecord('point', PointRecord, bytes, object);
  const damaged = (reason: string): CofferError =>
    new CofferError('object-damaged', { object, item: record.item, reason });
  if (pointIdOf(bytes) !== id) throw damaged('its name is wrong');
  const fault = macFault(bytes, record.mac, hashKey && macKey(hashKey));
  if (fault !== undefined) throw damaged(fault);
  return record;
}

/** The same for a stored object, whose name has to be the one that the record asks for. */
export function decodePointObject(
  { name, generation, id }: PointObject,
  bytes: Buffer,
  hashKey?: Buffer,
): PointRecord {
  const record = decodePoint(id, bytes, hashKey);
  if (pointObjectName(record.item, generation, id) === name) return record;
  const { item } = record;
  throw new CofferError('object-damaged', { object: name, item, reason: 'its name is wrong' });
}

function macKey(material: Buffer): MacKey {
  return { context: 'coffer 1 point mac', material };
}

/** The manifest of a point, which needs the private key. */
export function openManifest(point: PointRecord, keys: RepositoryKeys): unknown {
  const sealed = Buffer.from(point.manifest, 'base64');
  const content = openBox(keys.privateKey, sealed, factsOf('manifest', point));
  try {
    return JSON.parse(content.toString('utf8')) as unknown;
  } catch (error) {
    throw new CofferError('object-damaged', { what: 'manifest', reason: 'not JSON' }, error);
  }
}

function pointIdOf(bytes: Buffer): string {
  return digest(bytes).toString('hex', 0, POINT_ID_SIZE_BYTES);
}

/** Binds what is sealed to the header that it came with. */
function factsOf(what: 'manifest' | 'notes', { item, kind, takenAt, roots }: PointHeader): Buffer {
  const facts = roots.map(({ name, root, sizeBytes }) => [name, root, sizeBytes]);
  return Buffer.from(`coffer 1 ${what} ${JSON.stringify([item, kind, takenAt, facts])}`, 'utf8');
}

/** Folder of an item's points: names of items may be anything, names of objects may not. */
export function itemFolder(item: string): string {
  return `points/${digest(Buffer.from(item, 'utf8')).toString('hex', 0, 16)}/`;
}

export function pointObjectName(item: string, generation: number, id: string): string {
  return `${itemFolder(item)}${formatGeneration(generation)}-${id}`;
}

/** What the name of a point's object says. */
export interface PointObject {
  readonly name: string;
  readonly generation: number;
  readonly id: string;
}

/** Undefined for another name. */
export function parsePointObjectName(name: string): PointObject | undefined {
  const match = /^points\/[0-9a-f]{32}\/(\d+)-([0-9a-f]{32})$/.exec(name);
  const generation = parseGeneration(match?.[1]);
  return match && generation !== undefined ? { name, generation, id: match[2]! } : undefined;
}
