import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError, seededRandom, systemClock } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { openQemuImage } from '../qemu/qemu-image.ts';
import { writableDiskContract, writeAtRandom } from '../testing/contract.ts';
import { createQcow2 } from './create.ts';
import { backingFilesOf, inspectQcow2, parseQcow2Facts } from './inspect.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const folder = mkdtempSync(join(tmpdir(), 'coffer-qcow2-test-'));
after(() => rmSync(folder, { recursive: true }));
let made = 0;
const newPath = (): string => join(folder, `${made++}.qcow2`);
const reading = {
  format: 'qcow2',
  writable: false,
  mayReferToOthers: false,
  temporaryFolder: folder,
} as const;

writableDiskContract('qcow2', async (sizeBytes) => {
  const path = newPath();
  return {
    disk: await createQcow2(path, sizeBytes),
    reopen: () => openQemuImage(path, { ...reading, clock: systemClock }),
  };
});

test('QEMU finds nothing to mend in an image, and reads what was written', async () => {
  for (const sizeBytes of [512, 65_536, 3 * MIB + 512, 700 * MIB]) {
    const path = newPath();
    const disk = await createQcow2(path, sizeBytes);
    const expected = Buffer.alloc(sizeBytes);
    await writeAtRandom(disk, expected, seededRandom(sizeBytes), 20);
    await disk.close();
    assertSound(path);
    assertEqual(path, expected);
  }
});

test('an image takes as much as was written, however large its disk is', async () => {
  for (const sizeBytes of [16 * GIB, 64 * 1024 * GIB]) {
    const path = newPath();
    const disk = await createQcow2(path, sizeBytes);
    await disk.write(sizeBytes - MIB, Buffer.alloc(MIB, 1));
    await disk.write(0, Buffer.alloc(MIB, 2));
    await disk.close();
    assert.ok(statSync(path).size < 6 * MIB, `${statSync(path).size} bytes`);
    assertSound(path);
    assert.equal(sizeTold(path), sizeBytes);
  }
});

test('writes all over a large disk are all found, though few tables are kept', async () => {
  const path = newPath();
  const sizeBytes = 200 * GIB;
  const disk = await createQcow2(path, sizeBytes);
  const random = seededRandom(5);
  const places = Array.from({ length: 600 }, (_, index) => {
    // Those of the second half fall into tables of the first.
    const step = (index * 7919) % 400;
    return Math.floor(((step + random.fraction()) * sizeBytes) / 400 / 4096) * 4096;
  });
  const contentOf = (place: number): Buffer => seededRandom(place % 65_521).bytes(4096);
  await Promise.all(places.map((place) => disk.write(place, contentOf(place))));
  await assertAllThere(disk, places, contentOf);
  await disk.close();
  assertSound(path);
  const again = await openQemuImage(path, { ...reading, clock: systemClock });
  await assertAllThere(again, places, contentOf);
  await again.close();
});

test('what was flushed is there after a crash, once QEMU has counted anew', async () => {
  const path = newPath();
  const disk = await createQcow2(path, 8 * MIB);
  const expected = Buffer.alloc(8 * MIB);
  await writeAtRandom(disk, expected, seededRandom(3), 30);
  await disk.flush();
  const crashed = newPath();
  execFileSync('cp', ['--sparse=always', path, crashed]);
  await disk.close();
  assert.throws(() => assertSound(crashed), 'it is marked until it is closed');
  execFileSync('qemu-img', ['check', '-q', '-r', 'all', crashed], { stdio: 'ignore' });
  assertSound(crashed);
  assertEqual(crashed, expected);
});

test('an image is refused where a file is, and none is left where it cannot be made', async () => {
  const path = newPath();
  writeFileSync(path, 'precious');
  const refused = (error: unknown): boolean => isCofferError(error, 'target-unwritable');
  await assert.rejects(createQcow2(path, MIB), refused);
  assert.equal(statSync(path).size, 8);
  await assert.rejects(createQcow2(join(folder, 'no/such/folder'), MIB), refused);
});

async function assertAllThere(
  disk: Pick<WritableDisk, 'read'>,
  places: readonly number[],
  contentOf: (place: number) => Buffer,
): Promise<void> {
  for (const place of places) {
    const found = Buffer.alloc(4096);
    await disk.read(place, found);
    assert.ok(found.equals(contentOf(place)), `at ${place}`);
  }
}

/** Neither errors nor clusters that nothing refers to. */
function assertSound(path: string): void {
  execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', path], { stdio: 'pipe' });
}

function assertEqual(path: string, expected: Buffer): void {
  const raw = `${path}.raw`;
  writeFileSync(raw, expected);
  execFileSync('qemu-img', ['compare', '-q', '-f', 'qcow2', '-F', 'raw', path, raw]);
  rmSync(raw);
}

function sizeTold(path: string): number {
  const told = execFileSync('qemu-img', ['info', '--output=json', path], { encoding: 'utf8' });
  return (JSON.parse(told) as { 'virtual-size': number })['virtual-size'];
}

test('what an image of QEMU is, is told by its header', () => {
  const made = (...options: string[]): string => {
    const path = newPath();
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, path, '1M']);
    return path;
  };
  const plain = { version: 3, hasDataFile: false, isEncrypted: false, backing: undefined };
  assert.deepEqual(inspectQcow2(made()), plain);
  assert.deepEqual(inspectQcow2(made('-o', 'compat=0.10')), { ...plain, version: 2 });
  const withData = made('-o', `data_file=${newPath()}`);
  assert.deepEqual(inspectQcow2(withData), { ...plain, hasDataFile: true });
  const luks = readFileSync(made());
  luks.writeUInt32BE(2, 32);
  const facts = parseQcow2Facts((offset, length) => luks.subarray(offset, offset + length));
  assert.deepEqual(facts, { ...plain, isEncrypted: true });
});

test('files that an image lies on are found by their headers, also those of a cycle', () => {
  const [base, middle, top] = [newPath(), newPath(), newPath()];
  const over = (path: string, backing: string): void => {
    const below = ['-u', '-F', 'qcow2', '-b', backing];
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...below, path, '1M']);
  };
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', base, '1M']);
  over(middle, basename(base));
  over(top, middle);
  assert.deepEqual(backingFilesOf(top), [middle, base]);
  assert.deepEqual(backingFilesOf(base), []);
  assert.deepEqual(backingFilesOf(join(folder, 'none')), []);
  over(base, 'nbd:localhost:1');
  assert.deepEqual(backingFilesOf(middle), [base]);
  over(base, top);
  assert.ok(backingFilesOf(top).includes(top));
});

test('what is not a qcow2 image, or ends before it can be one, has no facts', () => {
  for (const bytes of [Buffer.alloc(80), Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(0)]) {
    const read = (offset: number, length: number) => bytes.subarray(offset, offset + length);
    assert.equal(parseQcow2Facts(read), undefined);
  }
});
