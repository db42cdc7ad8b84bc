import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { openRawDisk } from '../raw.ts';
import { assertHolds, writableDiskContract, writeAtRandom } from '../testing/contract.ts';
import { openOverlay } from './overlay.ts';

const SIZE = 5 * 1024 * 1024 + 512;
const folder = mkdtempSync(join(tmpdir(), 'coffer-overlay-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);

let made = 0;
writableDiskContract('overlay over zeroes', async (sizeBytes) => {
  const name = String(made++);
  writeFileSync(path(`${name}-zero`), Buffer.alloc(sizeBytes));
  const open = async () =>
    await openOverlay({
      below: await openRawDisk(path(`${name}-zero`)),
      base: 'zeroes',
      path: path(`${name}-over`),
    });
  return { disk: await open(), reopen: open };
});

test('what is not written comes from below, and below never changes', async () => {
  const original = seededRandom(1).bytes(SIZE);
  writeFileSync(path('below'), original);
  const expected = Buffer.from(original);
  const open = async () =>
    await openOverlay({ below: await openRawDisk(path('below')), base: 'b', path: path('over') });
  const disk = await open();
  await writeAtRandom(disk, expected, seededRandom(2), 40);
  await assertHolds(disk, expected, seededRandom(3));
  await disk.close();
  assert.ok(readFileSync(path('below')).equals(original));
  const again = await open();
  await assertHolds(again, expected, seededRandom(4));
  await again.close();
});

test('parts of one block that are written at once all arrive', async () => {
  const original = seededRandom(5).bytes(SIZE);
  writeFileSync(path('parts-below'), original);
  const below = await openRawDisk(path('parts-below'));
  const disk = await openOverlay({ below, base: 'p', path: path('parts') });
  const expected = Buffer.from(original);
  const writes: Promise<void>[] = [];
  for (let offset = 100; offset < 40_000; offset += 700) {
    const bytes = seededRandom(offset).bytes(300);
    bytes.copy(expected, offset);
    writes.push(disk.write(offset, bytes));
  }
  await Promise.all(writes);
  await assertHolds(disk, expected, seededRandom(6));
  await disk.close();
});

test('an overlay takes the space of what was written', async () => {
  writeFileSync(path('space-below'), '');
  truncateSync(path('space-below'), 1024 ** 3);
  const below = await openRawDisk(path('space-below'));
  const disk = await openOverlay({ below, base: 's', path: path('space') });
  await disk.write(512 * 1024 * 1024, Buffer.alloc(65_536, 1));
  await disk.close();
  assert.ok(statSync(path('space')).blocks * 512 < 1024 * 1024);
});

test('a file that is no overlay, or one of something else, is left as it is', async () => {
  writeFileSync(path('base'), Buffer.alloc(SIZE, 1));
  writeFileSync(path('letter'), 'Dear reader');
  const open = async (base: string, name: string) => {
    const below = await openRawDisk(path('base'));
    try {
      return await openOverlay({ below, base, path: path(name) });
    } finally {
      await below.close();
    }
  };
  const refused = (error: unknown): boolean => isCofferError(error, 'target-unwritable');
  await assert.rejects(open('a', 'letter'), refused);
  assert.equal(readFileSync(path('letter'), 'utf8'), 'Dear reader');
  const own = await openOverlay({
    below: await openRawDisk(path('base')),
    base: 'a',
    path: path('own'),
  });
  await own.close();
  await assert.rejects(open('b', 'own'), refused);
});
