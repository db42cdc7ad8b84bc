/** Images of btrfs, made by its own tools, and filled by the kernel. */
import { closeSync, ftruncateSync, linkSync, mkdirSync, openSync } from 'node:fs';
import { symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from '@coffer/base';
import { CURRENT_FOLDER, makeNodeAt, setModifiedAt } from '@coffer/base/folder-calls.ts';
import { setAttribute } from '@coffer/base/libc.ts';
import { mountByLoop } from '../../testing/loop-mount.ts';
import { tool } from '../../testing/tool.ts';

export async function makeImage(
  path: string,
  sizeBytes: number,
  args: readonly string[],
): Promise<void> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  await tool('mkfs.btrfs', ['-q', '-f', ...args, path]);
}

/** Calls `use` with the folder that the image is mounted on; it is unmounted afterwards. */
export async function whileMounted<T>(
  image: string,
  options: string,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = `${image}.mounted`;
  await mkdir(folder, { recursive: true });
  await mountByLoop(image, folder, `loop,${options}`);
  try {
    return await use(folder);
  } finally {
    await tool('umount', [folder]);
  }
}

/** A folder with all that btrfs can hold. */
export function makeSampleTree(root: string, nameCount: number): void {
  makeContents(root);
  makeLinks(root);
  const many = join(root, 'many');
  mkdirSync(many);
  for (let index = 0; index < nameCount; index++) writeFileSync(join(many, `name ${index}`), '');
  const times = [-1_500_000_000n, 0n, 4_294_967_296_123_456_789n];
  for (const [index, timeNs] of times.entries()) {
    writeFileSync(join(root, `time-${index}`), '');
    setModifiedAt(CURRENT_FOLDER, Buffer.from(join(root, `time-${index}`)), timeNs);
  }
  const attributed = Buffer.from(join(root, 'attributed'));
  writeFileSync(attributed, 'x', { mode: 0o4751 });
  for (const name of ['user.b', 'user.a', 'trusted.c']) {
    setAttribute(attributed, Buffer.from(name), Buffer.from(name.repeat(100)));
  }
}

function makeContents(root: string): void {
  const random = seededRandom(1);
  for (const sizeBytes of [0, 1, 100, 2000, 2048, 4096, 4097, 300_001]) {
    writeFileSync(join(root, `random-${sizeBytes}`), random.bytes(sizeBytes));
    writeFileSync(join(root, `text-${sizeBytes}`), textOf(sizeBytes));
  }
  // Many extents: runs that compress, runs that do not, and holes.
  const mixed = Array.from({ length: 60 }, (_, index) =>
    index % 3 === 0 ? random.bytes(50_000) : textOf(70_000 + index),
  );
  writeFileSync(join(root, 'mixed'), Buffer.concat(mixed));
  const fd = openSync(join(root, 'sparse'), 'w');
  for (let index = 0; index < 40; index++) {
    const bytes = index % 2 === 0 ? random.bytes(5000) : textOf(9000);
    writeSync(fd, bytes, 0, bytes.length, index * 1_000_003);
  }
  ftruncateSync(fd, 5 * 1024 ** 4);
  closeSync(fd);
}

function makeLinks(root: string): void {
  symlinkSync('many/name 1', join(root, 'link'));
  symlinkSync('x'.repeat(3000), join(root, 'long link'));
  writeFileSync(join(root, 'one'), 'several names');
  mkdirSync(join(root, 'folder', 'deep', 'er'), { recursive: true });
  linkSync(join(root, 'one'), join(root, 'two'));
  linkSync(join(root, 'one'), join(root, 'folder', 'three'));
  makeNodeAt(CURRENT_FOLDER, Buffer.from(join(root, 'fifo')), 0o010600, 0n);
  makeNodeAt(CURRENT_FOLDER, Buffer.from(join(root, 'device')), 0o060660, (259n << 8n) | 7n);
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x66, 0xff, 0xfe])]), 'bytes');
  writeFileSync(join(root, 'n'.repeat(255)), 'long');
}

/** Words that repeat with variations, so that all forms of matches are met. */
function textOf(sizeBytes: number): Buffer {
  const random = seededRandom(sizeBytes);
  const words = Array.from({ length: 300 }, () => random.bytes(3).toString('hex'));
  let text = '';
  while (text.length < sizeBytes) text += `${words[Math.floor(random.fraction() ** 3 * 300)]} `;
  return Buffer.from(text.slice(0, sizeBytes));
}
