/** What the simulation writes: small disks that share most of their chunks, and their restore. */
import { assert, type Random, seededRandom } from '@coffer/base';
import { SlabPool } from '../chunk/slab.ts';
import { type EncodedPoint, encodePoint, type RecoveryPoint } from '../recovery-point.ts';
import type { UnlockedRepository } from '../repository.ts';
import type { Session } from '../session/session.ts';
import { diskLeaves, DiskTreeBuilder } from '../tree/disk-tree.ts';

/** So few different chunks that runs share most of them. */
const CHUNK_VARIETY = 40;
const CHUNKS_PER_POINT_MAX = 60;
const CHUNK_SIZE_BYTES = 256 * 1024;

/** What a point has to hold. */
export interface Expected {
  /** Each chunk by a number, in order. */
  readonly contents: readonly number[];
  /** All chunks and nodes that it reaches, in hexadecimal. */
  readonly reached: ReadonlySet<string>;
  /** Ids that were forged before its commit: what its session found stored under them may be false. */
  readonly forgedBefore: ReadonlySet<string>;
}

export interface WrittenPoint extends Omit<Expected, 'forgedBefore'> {
  readonly point: EncodedPoint;
}

export function chooseContents(random: Random): number[] {
  const size = 1 + Math.floor(random.fraction() * CHUNKS_PER_POINT_MAX);
  return Array.from({ length: size }, () => Math.floor(random.fraction() * CHUNK_VARIETY));
}

/** Writes a disk in the session; `pause` is called after each chunk. The point is not committed. */
export async function writeContents(
  { run: { random, clock }, keys }: UnlockedRepository,
  session: Session,
  contents: readonly number[],
  pause: () => Promise<void>,
): Promise<WrittenPoint> {
  const slabs = new SlabPool(1, 64 * 1024);
  const reached = new Set<string>();
  const sizeBytes = contents.length * CHUNK_SIZE_BYTES;
  const tree = new DiskTreeBuilder(sizeBytes, async (children, body) => {
    const id = await session.writer.writeNode(children, body);
    reached.add(id.toString('hex'));
    return id;
  });
  for (const content of contents) {
    const id = await slabs.use(async (slab) => {
      const bytes = chunkOf(content);
      bytes.copy(slab.bytes);
      return (await session.writer.write(slab, [{ offset: 0, length: bytes.length }]))[0]!;
    });
    reached.add(id.toString('hex'));
    await tree.add(id);
    await pause();
  }
  const root = (await tree.finish()).toString('hex');
  const item = `item-${Math.floor(random.fraction() * 3)}`;
  const roots = [{ name: 'disk', root, sizeBytes }];
  const header = { item, kind: 'disk', takenAt: clock.now(), roots, tags: {} } as const;
  return { point: encodePoint(header, {}, { ...keys, random }), contents, reached };
}

/** Reads a point whole and compares it with what was written. */
export async function checkRestore(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  { contents }: Expected,
): Promise<void> {
  const reader = repository.reader();
  const [root] = point.roots;
  assert(root !== undefined, 'a point has a root');
  const source = { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
  let index = 0;
  for await (const { ids } of diskLeaves(reader, source)) {
    for (const id of ids ?? []) {
      const content = contents[index++];
      const plain = await reader.readData(id);
      const isWritten = content !== undefined && plain.equals(chunkOf(content));
      assert(isWritten, 'a restore is what was written');
    }
  }
  assert(index === contents.length, 'a restore is whole');
}

function chunkOf(content: number): Buffer {
  // Random content does not compress, so that packs fill up.
  return seededRandom(content + 1).bytes(100 + content * 10);
}
