// Files of a volume are restored out of a backup of its disk. Needs root, as mounting does.
import assert from 'node:assert/strict';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isCofferError, seededRandom, type RunEvent } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { makeImage, whileMounted } from '@coffer/file-system/ext4/testing/mounted.ts';
import { makeSampleTree } from '@coffer/file-system/ext4/testing/sample-tree.ts';
import { tool } from '@coffer/file-system/testing/tool.ts';
import type { RecoveryPoint } from '@coffer/repository';
import type { Conflict } from '../conflict.ts';
import { type Facts, factsOf, VolumeLab } from './testing/volume-lab.ts';

const MIB = 1024 * 1024;
const BIG = seededRandom(7).bytes(3 * MIB);

let lab: VolumeLab;
/** A volume of which tests restore parts, and what is on it. */
let small: RecoveryPoint;
before(async () => {
  lab = await VolumeLab.create();
  small = await lab.protect(await ext4Of('small', SMALL));
});
after(async () => await lab[Symbol.asyncDispose]());

const SMALL = {
  'docs/a.odt': 'a',
  'docs/deep/b.odt': 'bb',
  'docs/c.txt': 'ccc',
  'other/d.odt': 'dddd',
  big: BIG,
};

/** An image that mke2fs fills with these files. */
async function ext4Of(
  name: string,
  files: Readonly<Record<string, string | Buffer>>,
  ...args: readonly string[]
): Promise<string> {
  const source = lab.path(`${name}.source`);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(source, path, '..'), { recursive: true });
    writeFileSync(join(source, path), content);
  }
  const image = lab.path(`${name}.ext4`);
  await makeImage(image, 16 * MIB, 'mke2fs', '-q', '-F', '-t', 'ext4', '-d', source, ...args);
  return image;
}

async function debugfs(image: string, ...commands: readonly string[]): Promise<void> {
  await tool('debugfs', ['-w', '-f', '-', image], { input: `${commands.join('\n')}\n` });
}

/** Names of all files below, without what mke2fs adds. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => lstatSync(join(folder, name)).isFile())
    .sort();
}

test('a volume is restored with all that its kernel sees on it', async () => {
  const image = lab.path('all.ext4');
  await makeImage(image, 64 * MIB, 'mke2fs', '-q', '-F', '-t', 'ext4');
  let expected: Facts = {};
  await whileMounted(image, async (root) => {
    const sparseBytes = 64 * MIB;
    await makeSampleTree(root, { sparseBytes, manyNamesCount: 300, largeAttributeBytes: 900 });
    await tool('chown', ['-h', '1234:77', join(root, 'file-1'), join(root, 'link')]);
    await tool('chmod', ['6751', join(root, 'file-65536')]);
    mkdirSync(join(root, 'links'));
    await tool('ln', [join(root, 'a/b/c/d/deep'), join(root, 'links/deep')]);
    await tool('ln', [join(root, 'fifo'), join(root, 'links/fifo')]);
    await tool('ln', ['-P', join(root, 'link'), join(root, 'links/link')]);
    utimesSync(root, 1_000_000, 1_234_567.5);
    expected = factsOf(root);
  });
  const target = lab.path('all');
  const point = await lab.protect(image);
  const done = { bytes: 0, items: 0 };
  const tell = (event: RunEvent): void => {
    if (event.kind !== 'done') return;
    done.bytes += event.bytes;
    done.items += event.items;
  };
  const result = await lab.restore(
    point,
    { target, verify: true, privileges: true },
    testRun({ tell }),
  );
  assert.deepEqual(result.findings, []);
  assert.equal(result.verified, true);
  const restored = factsOf(target);
  assert.deepEqual(Object.keys(restored), Object.keys(expected));
  for (const [path, facts] of Object.entries(expected)) {
    assert.deepEqual(restored[path], facts, path);
  }
  const { size, blocks } = statSync(join(target, 'sparse'));
  assert.equal(size, 64 * MIB);
  // Seven pieces of 5000 bytes, each on up to three blocks.
  assert.ok(blocks * 512 <= 7 * 3 * 4096, `${blocks} blocks of a sparse file`);
  assert.ok(statSync(join(target, 'fragmented')).blocks * 512 < 3.5 * MIB);
  assert.ok(done.bytes > 64 * MIB && done.items > 300);
});

test('a FAT volume is restored as mtools wrote it', async () => {
  const image = lab.path('fat');
  writeFileSync(image, '');
  await truncate(image, 8 * MIB);
  await tool('mkfs.vfat', ['-F', '16', '-s', '1', image]);
  writeFileSync(lab.path('big.bin'), BIG);
  await tool('mmd', ['-i', image, '::/A long name of a folder']);
  const long = ['-i', image, lab.path('big.bin'), '::/A long name of a folder/Größe.bin'];
  await tool('mcopy', long, { env: { LC_ALL: 'C.UTF-8' } });
  await tool('mcopy', ['-i', image, lab.path('big.bin'), '::/SHORT.BIN']);
  const target = lab.path('from-fat');
  const point = await lab.protect(image);
  const { findings, bytesWritten } = await lab.restore(point, { target, verify: true });
  assert.deepEqual(findings, []);
  assert.equal(bytesWritten, 2 * BIG.length);
  assert.deepEqual(filesIn(target), ['A long name of a folder/Größe.bin', 'SHORT.BIN']);
  assert.ok(readFileSync(join(target, 'A long name of a folder/Größe.bin')).equals(BIG));
});

test('parts are restored: a folder, a file, what patterns include', async () => {
  const cases: [path: string, include: string[], expected: string[]][] = [
    ['docs', [], ['a.odt', 'c.txt', 'deep/b.odt']],
    ['/docs/deep/', [], ['b.odt']],
    ['docs/deep/b.odt', [], ['b.odt']],
    ['', ['*.odt', '!d.odt'], ['docs/a.odt', 'docs/deep/b.odt']],
    ['docs', ['deep/'], ['deep/b.odt']],
  ];
  for (const [path, include, expected] of cases) {
    const { target, findings } = await lab.restore(small, { path, include, verify: true });
    assert.deepEqual(findings, []);
    assert.deepEqual(filesIn(target), expected, path);
  }
  const { target } = await lab.restore(small, { include: ['*.odt'] });
  assert.deepEqual(readdirSync(target).sort(), ['docs', 'other']);
});

test('what is not there is named: a path, a volume, a disk', async () => {
  const fails = async (options: Parameters<VolumeLab['restore']>[1], code: string) =>
    await assert.rejects(lab.restore(small, options), (error) =>
      isCofferError(error, code as 'path-not-found'),
    );
  await fails({ path: 'no/such' }, 'path-not-found');
  await fails({ path: 'big/x' }, 'path-not-found');
  await fails({ path: '../..' }, 'path-not-found');
  await fails({ volume: 'p1' }, 'volume-not-found');
  await fails({ disk: 'other' }, 'disk-not-found');
});

test('every way to meet a conflict does what it says', async () => {
  const cases: [conflict: Conflict, expected: Record<string, string>][] = [
    ['overwrite', { 'a.odt': 'a', 'c.txt': 'ccc', 'deep/b.odt': 'bb', mine: 'mine' }],
    ['delta', { 'a.odt': 'a', 'c.txt': 'ccc', 'deep/b.odt': 'bb', mine: 'mine' }],
    ['skip', { 'a.odt': 'my a', 'c.txt': 'ccc', 'deep/b.odt': 'bb', mine: 'mine' }],
    [
      'keep-both',
      { 'a.odt': 'my a', 'a.odt.restored': 'a', 'c.txt': 'ccc', 'deep/b.odt': 'bb', mine: 'mine' },
    ],
  ];
  for (const [conflict, expected] of cases) {
    const target = lab.path(conflict);
    mkdirSync(target);
    writeFileSync(join(target, 'a.odt'), 'my a');
    writeFileSync(join(target, 'mine'), 'mine');
    const { findings } = await lab.restore(small, { path: 'docs', target, conflict });
    assert.deepEqual(findings, [], conflict);
    const found = filesIn(target).map((name) => [name, readFileSync(join(target, name), 'utf8')]);
    assert.deepEqual(Object.fromEntries(found), expected, conflict);
  }
  const refusals: Partial<Parameters<VolumeLab['restore']>[1]>[] = [{}, { dryRun: true }];
  for (const options of [...refusals, { conflict: 'fail' as const }]) {
    const target = lab.path('skip');
    await assert.rejects(lab.restore(small, { path: 'docs', target, ...options }), (error) =>
      isCofferError(error, 'target-not-empty'),
    );
  }
});

test('a delta writes only what differs, in place, and makes holes where zeroes are', async () => {
  const sparse = Buffer.concat([BIG, Buffer.alloc(MIB), BIG.subarray(0, 5000)]);
  const point = await lab.protect(await ext4Of('delta', { sparse, equal: 'equal' }));
  const { target } = await lab.restore(point);
  const path = join(target, 'sparse');
  const { ino } = statSync(path);
  const equal = await lab.restore(point, { target, conflict: 'delta', verify: true });
  assert.deepEqual(
    [equal.bytesWritten, equal.bytesKept, equal.verified],
    [0, sparse.length + 5, true],
  );
  const changed = Buffer.concat([sparse, Buffer.from('and more')]);
  changed[5000] = changed[5000]! ^ 1;
  changed.fill(1, BIG.length + 4096, BIG.length + MIB);
  writeFileSync(path, changed);
  writeFileSync(join(target, 'equal'), 'e');
  const delta = await lab.restore(point, { target, conflict: 'delta', verify: true });
  assert.equal(delta.bytesWritten, 4096 + 5);
  assert.deepEqual([delta.verified, delta.findings], [true, []]);
  assert.ok(readFileSync(path).equals(sparse));
  assert.equal(statSync(path).ino, ino);
  assert.ok(statSync(path).blocks * 512 < sparse.length - MIB / 2, 'the zeroes are a hole again');
});

test('a dry run tells how much it is, and writes nothing', async () => {
  const target = lab.path('nowhere/target');
  const { bytesWritten, findings } = await lab.restore(small, { target, dryRun: true });
  assert.deepEqual([bytesWritten, findings], [BIG.length + 10, []]);
  const part = await lab.restore(small, { target, path: 'docs', include: ['*.odt'], dryRun: true });
  assert.equal(part.bytesWritten, 3);
  assert.ok(!readdirSync(lab.folder).includes('nowhere'));
});

test('verification finds what is not as it is on the volume', async () => {
  const { target } = await lab.restore(small);
  const changed = Buffer.from(BIG);
  changed[MIB + 5] = changed[MIB + 5]! ^ 0x80;
  writeFileSync(join(target, 'big'), changed);
  writeFileSync(join(target, 'docs/a.odt'), 'aa');
  writeFileSync(join(target, 'docs/c.txt'), 'cc');
  const result = await lab.restore(small, { target, conflict: 'skip', verify: true });
  assert.equal(result.verified, false);
  const found = result.findings.map(({ code, subject }) => `${code} ${subject.name}`).sort();
  assert.deepEqual(found, ['differs big', 'differs docs/a.odt', 'differs docs/c.txt']);
});

test('links that wait in the target are not written through', async () => {
  for (const conflict of ['overwrite', 'delta', 'keep-both', 'skip'] as const) {
    const target = lab.path(`planted-${conflict}`);
    const outside = lab.path(`outside-${conflict}`);
    mkdirSync(target);
    mkdirSync(outside);
    writeFileSync(join(outside, 'a.odt'), 'precious');
    symlinkSync(outside, join(target, 'deep'));
    symlinkSync(join(outside, 'a.odt'), join(target, 'a.odt'));
    await lab.restore(small, { path: 'docs', target, conflict });
    assert.deepEqual(readdirSync(outside), ['a.odt'], conflict);
    assert.equal(readFileSync(join(outside, 'a.odt'), 'utf8'), 'precious', conflict);
  }
});

test('what is damaged on the volume is told, and all else is restored', async () => {
  const image = await ext4Of('damaged', { ...SMALL, 'docs/secret': 'secret' });
  await debugfs(image, 'clri docs/a.odt', 'sif docs/secret flags 0x80800', 'clri other');
  const point = await lab.protect(image);
  const { target, findings, verified } = await lab.restore(point, { verify: true });
  const found = findings.map(({ code, subject }) => `${code} ${subject.name}`).sort();
  assert.deepEqual(found, [
    'file-system-damaged ',
    'file-system-damaged docs',
    'file-system-unsupported docs/secret',
  ]);
  assert.equal(verified, false);
  assert.deepEqual(filesIn(target), ['big', 'docs/c.txt', 'docs/deep/b.odt']);
  const dry = await lab.restore(point, { dryRun: true });
  assert.deepEqual(dry.findings.map(({ subject }) => subject.name).sort(), ['', 'docs']);
});

test('a link and a folder of one name lead nowhere together', async () => {
  const outside = lab.path('led-outside');
  mkdirSync(outside);
  const files = { 'b-b/file': 'in a folder', 'c-c/file': 'in another' };
  const image = await ext4Of('colliding', files, '-O', '^metadata_csum,^dir_index');
  await debugfs(image, `symlink a-a ${outside}`, `symlink d-d ${outside}`);
  // Names are of one length, so that only their bytes change.
  const bytes = readFileSync(image);
  for (const [from, to] of [
    ['b-b', 'a-a'],
    ['d-d', 'c-c'],
  ] as const) {
    let count = 0;
    for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at), count++) {
      bytes.write(to, at);
    }
    assert.ok(count > 0, from);
  }
  writeFileSync(image, bytes);
  const point = await lab.protect(image);
  for (const conflict of [undefined, 'overwrite', 'skip', 'keep-both', 'delta'] as const) {
    const { target, findings } = await lab.restore(point, { conflict });
    assert.deepEqual(readdirSync(outside), [], conflict ?? 'none');
    assert.ok(findings.every(({ code }) => code === 'conflict' || code === 'not-restored'));
    assert.equal(readFileSync(join(target, 'c-c/file'), 'utf8'), 'in another');
  }
});
