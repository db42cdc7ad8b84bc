/** What can befall the objects of a repository. */
import { digest, type Random } from '@coffer/base';
import type { IntactPoint } from './intact.ts';

export interface Damage {
  readonly description: string;
  /** New contents by name; undefined for an object that is gone. */
  readonly changes: ReadonlyMap<string, Buffer | undefined>;
  /** Whether a verification has to find it; what is gone without a trace cannot be found. */
  readonly isFound: boolean;
  /** True for a point that it may touch. */
  readonly touches: (point: IntactPoint) => boolean;
  /** Every one of those has lost something, and no other. */
  readonly isExact: boolean;
}

type Objects = ReadonlyMap<string, Buffer>;

/** One flipped bit in each byte of small objects, and in `sampleCount` bytes of each pack. */
export function* bitFlips(
  objects: Objects,
  sampleCount: number,
  random: Random,
  points: readonly IntactPoint[],
): Generator<Damage> {
  for (const [name, bytes] of objects) {
    for (const offset of offsetsIn(name, bytes.length, sampleCount, random)) {
      const changed = Buffer.from(bytes);
      changed[offset]! ^= 1 << Math.floor(random.fraction() * 8);
      yield {
        description: `a flipped bit in byte ${offset} of ${bytes.length} of ${name}`,
        changes: new Map([[name, changed]]),
        isFound: !isTold(name),
        touches: touchedBy(name, points, offset),
        isExact: name.startsWith('packs/'),
      };
    }
  }
}

function offsetsIn(name: string, length: number, sampleCount: number, random: Random): number[] {
  const all = Array.from({ length }, (_, offset) => offset);
  if (!name.startsWith('packs/') && !name.startsWith('index/')) return all;
  const edges = [0, 7, 8, 20, 23, 24, length - 1, length - 9, length - 12, length - 20];
  const inFooter = length - 13 - Math.floor(random.fraction() * Math.min(200, length / 2));
  const some = Array.from({ length: sampleCount }, () => Math.floor(random.fraction() * length));
  const chosen = new Set([...edges, inFooter, ...some]);
  return Array.from(chosen).filter((offset) => offset >= 0 && offset < length);
}

/** Objects that are gone, cut, empty, longer, or random. */
export function* wholeObjectDamages(
  objects: Objects,
  random: Random,
  points: readonly IntactPoint[],
): Generator<Damage> {
  for (const [name, bytes] of objects) {
    const cut = Math.floor(random.fraction() * bytes.length);
    const changes: [string, Buffer | undefined][] = [
      ['missing', undefined],
      ['cut', bytes.subarray(0, cut)],
      ['empty', Buffer.alloc(0)],
      ['longer', Buffer.concat([bytes, Buffer.from([0])])],
      ['random', random.bytes(bytes.length)],
      ['zeroes', Buffer.alloc(bytes.length)],
    ];
    for (const [how, changed] of changes) {
      if (changed?.equals(bytes)) continue;
      yield {
        description: `${how}: ${name}`,
        changes: new Map([[name, changed]]),
        isFound: (changed !== undefined || isNeededBy(name, points)) && !isTold(name),
        touches: touchedBy(name, points),
        isExact: false,
      };
    }
  }
}

/** Each object under the name of the next one of its kind, and of some other kind. */
export function* swaps(objects: Objects, points: readonly IntactPoint[]): Generator<Damage> {
  const names = Array.from(objects.keys());
  for (const [index, name] of names.entries()) {
    for (const step of [1, 7]) {
      const other = names[(index + step) % names.length]!;
      if (objects.get(name)!.equals(objects.get(other)!)) continue;
      const touchesOne = touchedBy(name, points);
      const touchesOther = touchedBy(other, points);
      yield {
        description: `swapped: ${name} and ${other}`,
        changes: new Map([
          [name, objects.get(other)],
          [other, objects.get(name)],
        ]),
        // Slots of keys are known by their names.
        isFound: !isInterchangeable(name, other),
        touches: (point) => touchesOne(point) || touchesOther(point),
        isExact: false,
      };
    }
  }
}

/** Objects that nobody of us wrote, under names of every kind. */
export function* strangers(random: Random): Generator<Damage> {
  const content = random.bytes(500);
  const hex = digest(content).toString('hex');
  const names = [
    `packs/${hex.slice(0, 2)}/${hex}`,
    `index/00000009-${hex}`,
    `points/${hex.slice(0, 32)}/00000009-${hex.slice(0, 32)}`,
    `sessions/${hex.slice(0, 32)}-begin`,
    `sessions/${hex.slice(0, 32)}-end`,
    'gc/00000009-condemned',
    'gc/00000009-sweep',
    'gc/00000009-done',
    'gc/00000009-waiting',
    `keys/${hex.slice(0, 16)}`,
    `holds/${hex.slice(0, 32)}-person`,
    `deleted/${hex.slice(0, 32)}`,
    `receipts/${hex.slice(0, 32)}`,
    `removed/${hex.slice(0, 32)}`,
    `jobs/${hex.slice(0, 20)}`,
    `damaged/${hex.slice(0, 32)}`,
    `sessions/${hex.slice(0, 32)}-renewed-000001`,
    `probes/${hex}`,
  ];
  for (const name of names) {
    yield {
      description: `random bytes under the new name ${name}`,
      changes: new Map([[name, content]]),
      // A pack that nothing names is garbage, whatever it holds.
      isFound: !name.startsWith('packs/') && !isTold(name),
      touches: () => false,
      isExact: true,
    };
  }
}

function isInterchangeable(a: string, b: string): boolean {
  return (isTold(a) && isTold(b)) || [a, b].every((name) => name.startsWith('keys/'));
}

/** By its name alone: what it holds does not count. */
function isTold(name: string): boolean {
  return /^(damaged|probes)\/|^sessions\/.*-renewed-/.test(name);
}

function isNeededBy(name: string, points: readonly IntactPoint[]): boolean {
  if (name.startsWith('config')) return true;
  return /^(packs|index)\//.test(name) && points.some(touchedBy(name, points));
}

/** A point needs its own record, the records of its chunks, and the index objects that name them. */
function touchedBy(
  name: string,
  points: readonly IntactPoint[],
  offset?: number,
): (point: IntactPoint) => boolean {
  const kind = name.split('/')[0] ?? '';
  switch (kind) {
    case 'packs':
      return ({ needs }) =>
        (needs.get(name) ?? []).some(
          (record) =>
            offset === undefined ||
            (offset >= record.offset && offset < record.offset + record.length),
        );
    case 'points':
      return ({ id }) => name.endsWith(id);
    case 'index':
      return ({ indexObjects }) => indexObjects.has(name);
    case 'sessions':
      // The end of a session that committed holds its points until they are listed.
      return ({ unlistedIn }) => unlistedIn !== undefined && name.startsWith(unlistedIn);
    default:
      return () => false;
  }
}
