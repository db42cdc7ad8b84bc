/**
 * The contract of file systems as tests, which every reader runs: it finds all that it has to hold
 * and nothing else, and what a damaged or hostile image makes of it is a `CofferError` in bounded
 * time, or another tree, but never another kind of failure.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FileMetadata } from '@coffer/base';
import { isCofferError, isFileName, type Random, seededRandom } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import {
  type ExpectedContent,
  type ExpectedNode,
  type ExpectedTree,
  nameKey,
} from './expected-tree.ts';
import { memoryDisk, patchedDisk } from './memory-disk.ts';

/** Contents up to this size are compared whole, larger ones at many places. */
const WHOLE_BYTES_MAX = 16 * 1024 * 1024;
const SAMPLE_COUNT = 24;
const SAMPLE_BYTES_MAX = 200_000;

export interface OpenedFileSystem {
  readonly fileSystem: FileSystem;
  readonly expected: ExpectedTree;
}

/** Runs all that the contract says on a file system that has to hold a tree. */
export function fileSystemContract(name: string, open: () => Promise<OpenedFileSystem>): void {
  test(`${name}: holds the tree that it was made of`, async () => {
    const { fileSystem, expected } = await open();
    try {
      await assertTree(fileSystem, expected);
    } finally {
      await fileSystem.close();
    }
  });
}

/** Compares all nodes with what they have to be: none is missing, none is too many. */
export async function assertTree(fileSystem: FileSystem, expected: ExpectedTree): Promise<void> {
  const nodes = await collect(fileSystem);
  const paths = [...nodes.keys()].sort();
  assert.deepEqual(paths, Object.keys(expected).sort(), 'the names are the same');
  const links = new Map<string, string>();
  for (const [path, node] of nodes) {
    await assertNode(fileSystem, node, expected[path]!, path);
    assertLinked(node, expected[path]!, links, path);
  }
}

/** The node of a path such as `a/b`; fails the test when it is not there. */
export async function nodeAt(fileSystem: FileSystem, path: string): Promise<FileMetadata> {
  let node = fileSystem.root;
  for (const name of path.split('/').filter((part) => part !== '')) {
    const found = await fileSystem.find(node, Buffer.from(name));
    assert.ok(found, `${path}: there is no ${name}`);
    node = found;
  }
  return node;
}

/** Up to `length` bytes of a file. */
export async function readAt(
  fileSystem: FileSystem,
  file: FileMetadata,
  offset: number,
  length: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(length, 0xee);
  return bytes.subarray(0, await fileSystem.read(file, offset, bytes));
}

async function collect(fileSystem: FileSystem): Promise<Map<string, FileMetadata>> {
  assert.equal(fileSystem.root.name.length, 0, 'the root has no name');
  const nodes = new Map<string, FileMetadata>([['', fileSystem.root]]);
  // A map is walked in the order of insertion, and what is added meanwhile comes last.
  for (const [path, folder] of nodes) {
    if (folder.type !== 'directory') continue;
    for await (const node of fileSystem.entries(folder)) {
      const key = path === '' ? nameKey(node.name) : `${path}/${nameKey(node.name)}`;
      assert.ok(isFileName(node.name), `${key} is a name`);
      assert.ok(!nodes.has(key), `${key} is there once`);
      nodes.set(key, node);
    }
    const absent = await fileSystem.find(folder, Buffer.from('no such name'));
    assert.equal(absent, undefined, `${path} has no name that it does not list`);
  }
  return nodes;
}

async function assertNode(
  fileSystem: FileSystem,
  node: FileMetadata,
  expected: ExpectedNode,
  path: string,
): Promise<void> {
  assert.equal(node.type, expected.type, `type of ${path}`);
  for (const field of ['mode', 'userId', 'groupId', 'modifiedNs', 'deviceNumber'] as const) {
    if (expected[field] !== undefined)
      assert.equal(node[field], expected[field], `${path} ${field}`);
  }
  if (expected.type === 'symlink') assert.ok(node.linkTarget, `${path} leads somewhere`);
  if (expected.linkTarget) {
    assert.equal(String(node.linkTarget), String(expected.linkTarget), `target of ${path}`);
  }
  if (expected.attributes) assertAttributes(node, expected.attributes, path);
  if (expected.content) await assertContent(fileSystem, node, expected.content, path);
  if (expected.type !== 'file') assert.equal(node.sizeBytes, 0, `${path} has no size`);
}

function assertAttributes(
  node: FileMetadata,
  expected: Readonly<Record<string, Buffer>>,
  path: string,
): void {
  const found = node.extendedAttributes.map(({ name, value }) => [
    name.toString('latin1'),
    value.toString('hex'),
  ]);
  const wanted = Object.entries(expected).map(([name, value]) => [name, value.toString('hex')]);
  assert.deepEqual(found, wanted.sort(byName), `attributes of ${path}, sorted by name`);
}

function byName(a: readonly string[], b: readonly string[]): number {
  return Buffer.compare(Buffer.from(a[0]!, 'latin1'), Buffer.from(b[0]!, 'latin1'));
}

/** Names of one file have one `hardLink`, and others have another or none. */
function assertLinked(
  node: FileMetadata,
  expected: ExpectedNode,
  links: Map<string, string>,
  path: string,
): void {
  if (!('hardLink' in expected)) return;
  assert.equal(node.hardLink !== undefined, expected.hardLink !== undefined, `${path} is shared`);
  if (!node.hardLink || expected.hardLink === undefined) return;
  const key = `${node.hardLink.device}:${node.hardLink.inode}`;
  assert.equal(links.get(key) ?? expected.hardLink, expected.hardLink, `${path} is the same file`);
  links.set(key, expected.hardLink);
}

async function assertContent(
  fileSystem: FileSystem,
  file: FileMetadata,
  expected: ExpectedContent,
  path: string,
): Promise<void> {
  const { sizeBytes } = expected;
  assert.equal(file.sizeBytes, sizeBytes, `size of ${path}`);
  if (sizeBytes <= WHOLE_BYTES_MAX) {
    await assertPart(fileSystem, file, expected, { offset: 0, length: sizeBytes + 10, path });
  }
  for (const { offset, length } of samples(sizeBytes, seededRandom(sizeBytes))) {
    await assertPart(fileSystem, file, expected, { offset, length, path });
  }
  assert.equal((await readAt(fileSystem, file, sizeBytes, 10)).length, 0, `${path} ends`);
  assert.equal((await readAt(fileSystem, file, sizeBytes + 9, 10)).length, 0, `${path} has ended`);
}

function samples(sizeBytes: number, random: Random): { offset: number; length: number }[] {
  if (sizeBytes === 0) return [];
  const count = sizeBytes < 100 ? 2 : SAMPLE_COUNT;
  const found = [{ offset: Math.max(0, sizeBytes - 5000), length: 6000 }];
  for (let index = 0; index < count; index++) {
    const length = 1 + Math.floor(random.fraction() * Math.min(SAMPLE_BYTES_MAX, sizeBytes));
    found.push({ offset: Math.floor(random.fraction() * sizeBytes), length });
  }
  return found;
}

async function assertPart(
  fileSystem: FileSystem,
  file: FileMetadata,
  expected: ExpectedContent,
  { offset, length, path }: { offset: number; length: number; path: string },
): Promise<void> {
  const actual = await readAt(fileSystem, file, offset, length);
  const wanted = expected.read(offset, length);
  assert.equal(actual.length, wanted.length, `${path}: bytes read at ${offset}`);
  if (actual.equals(wanted)) return;
  const first = actual.findIndex((byte, index) => byte !== wanted[index]);
  assert.fail(`${path} differs at ${offset + first}: ${actual[first]}, not ${wanted[first]}`);
}

export interface DamageOptions {
  /** The image, whole. */
  readonly image: () => Promise<Buffer>;
  readonly open: (disk: Disk) => Promise<FileSystem>;
  /** Where the structures are that are worth damaging; the whole image when absent. */
  readonly structures?: (image: Buffer) => readonly { offset: number; length: number }[];
  readonly roundCount?: number;
}

/** A damaged file system may be walked this far, in nodes and folders in each other. */
const NODES_MAX = 500;
const DEPTH_MAX = 12;
const WALK_BYTES_MAX = 512 * 1024 * 1024;

/** Damages bytes of the structures, or cuts the image, and reads all that is left of it. */
export function damageContract(name: string, options: DamageOptions): void {
  test(`${name}: a damaged image gives errors that are told, and never hangs`, async () => {
    const image = await options.image();
    const places = options.structures?.(image) ?? [{ offset: 0, length: image.length }];
    const random = seededRandom(7);
    for (let round = 0; round < (options.roundCount ?? 150); round++) {
      const patches = randomDamage(places, random);
      const disk = patchedDisk(memoryDisk(image), patches, WALK_BYTES_MAX);
      const what = patches.map(
        ({ offset, bytes }) => `${offset}=${Buffer.from(bytes).toString('hex')}`,
      );
      await assertOnlyTold(() => walkAll(options.open, disk), `damage ${what.join(' ')}`);
    }
  });

  test(`${name}: an image that is cut gives errors that are told`, async () => {
    const image = await options.image();
    for (let divisor = 1; divisor <= image.length; divisor *= 2) {
      for (const sizeBytes of [Math.floor(image.length / divisor) - 1, image.length / divisor]) {
        const disk = memoryDisk(image.subarray(0, Math.max(0, Math.floor(sizeBytes))));
        await assertOnlyTold(() => walkAll(options.open, disk), `cut to ${sizeBytes}`);
      }
    }
  });
}

function randomDamage(
  places: readonly { offset: number; length: number }[],
  random: Random,
): { offset: number; bytes: Buffer }[] {
  const count = 1 + Math.floor(random.fraction() * 3);
  return Array.from({ length: count }, () => {
    const place = places[Math.floor(random.fraction() * places.length)]!;
    const offset = place.offset + Math.floor(random.fraction() * place.length);
    const length = [1, 2, 4, 8, 64][Math.floor(random.fraction() * 5)]!;
    const kind = random.fraction();
    if (kind < 0.3) return { offset, bytes: Buffer.alloc(length, 0xff) };
    if (kind < 0.5) return { offset, bytes: Buffer.alloc(length) };
    return { offset, bytes: random.bytes(length) };
  });
}

/** Runs it; fails the test unless it succeeds or fails with a `CofferError`. */
export async function assertOnlyTold(run: () => Promise<void>, what: string): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!isCofferError(error) || error.code === 'internal') {
      throw new Error(`${what}: ${String(error)}`, { cause: error });
    }
  }
}

/** Opens, lists and reads what can be; one bad node does not end the walk. */
export async function walkAll(
  open: (disk: Disk) => Promise<FileSystem>,
  disk: Disk,
): Promise<void> {
  const fileSystem = await open(disk);
  const rest: { node: FileMetadata; depth: number }[] = [{ node: fileSystem.root, depth: 0 }];
  let count = 0;
  for (let next = rest.pop(); next && count < NODES_MAX; next = rest.pop()) {
    const { node, depth } = next;
    count++;
    await assertOnlyTold(async () => {
      if (node.type === 'file') await readEnds(fileSystem, node);
      if (node.type !== 'directory' || depth >= DEPTH_MAX) return;
      for await (const entry of fileSystem.entries(node)) {
        if (rest.length < NODES_MAX) rest.push({ node: entry, depth: depth + 1 });
      }
    }, `node ${node.inode}`);
  }
  await fileSystem.close();
}

async function readEnds(fileSystem: FileSystem, file: FileMetadata): Promise<void> {
  await readAt(fileSystem, file, 0, 100_000);
  await readAt(fileSystem, file, Math.max(0, file.sizeBytes - 5000), 6000);
}
