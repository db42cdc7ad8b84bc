// Images that are damaged or hostile: what is wrong is said, with the structure and its place.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ErrorCode, isCofferError, seededRandom } from '@coffer/base';
import { encodeGuid, randomGuid } from '../guid-codec.ts';
import { HEADER_OFFSETS } from './header-codec.ts';
import { DAMAGES, itemEntry } from './testing/damages.ts';
import { MemoryFile } from './testing/memory-file.ts';
import { METADATA_OFFSET, patchHeaders, patchRegionTables } from './testing/patch.ts';
import { contentOf, makeSamples, type Samples } from './testing/samples.ts';
import { openVhdx, openWritableVhdx } from './vhdx.ts';
import { openWritableIn } from './writable-disk.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const random = seededRandom(43);
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhdx-damage-'));
const path = join(folder, 'child.avhdx');
let samples: Samples;
before(async () => {
  samples = await makeSamples(path);
});
after(() => rmSync(folder, { recursive: true }));

test('what is wrong with an image is said, and where', async () => {
  for (const { name, sample = 'dynamic', patch, code = 'image-damaged', ...where } of DAMAGES) {
    const patched = Buffer.from(samples[sample]);
    patch(patched);
    await assert.rejects(
      contentOf(path, patched),
      (error) => {
        assert.ok(isCofferError(error, code), `${name}: ${String(error)}`);
        assert.equal(error.details['structure'], where.structure, name);
        if (where.offset !== undefined) assert.equal(error.details['offset'], where.offset, name);
        return true;
      },
      name,
    );
  }
});

test('an image without a log is read, and not written to', async () => {
  const image = Buffer.from(samples.dynamic);
  patchHeaders(image, (header) => header.fill(0, 68, 80));
  assert.ok((await contentOf(path, image)).equals(await contentOf(path, samples.dynamic)));
  await assert.rejects(openWritableIn(path, new MemoryFile(image), random), (error) =>
    isCofferError(error, 'image-unsupported'),
  );
});

test('one header, or one region table, is enough', async () => {
  const content = await contentOf(path, samples.dynamic);
  for (const offset of [...HEADER_OFFSETS, 192 * KIB, 256 * KIB]) {
    const image = Buffer.from(samples.dynamic);
    image.fill(0xff, offset, offset + 4096);
    assert.ok((await contentOf(path, image)).equals(content));
  }
});

test('regions and items that are not known and not required are left alone', async () => {
  const { dynamic } = samples;
  const image = Buffer.concat([dynamic, Buffer.alloc(MIB, 1)]);
  patchRegionTables(image, (table) => {
    table.writeUInt32LE(3, 8);
    encodeGuid(randomGuid(random)).copy(table, 80);
    table.writeBigUInt64LE(BigInt(dynamic.length), 96);
    table.writeUInt32LE(MIB, 104);
  });
  image.writeUInt16LE(6, METADATA_OFFSET + 10);
  encodeGuid(randomGuid(random)).copy(itemEntry(image, 5));
  itemEntry(image, 5).writeUInt32LE(128 * KIB, 16);
  itemEntry(image, 5).writeUInt32LE(10, 20);
  assert.ok((await contentOf(path, image)).equals(await contentOf(path, samples.dynamic)));
  const file = new MemoryFile(image);
  const disk = await openWritableIn(path, file, random);
  await disk.write(3 * MIB, random.bytes(100));
  await disk.close();
  assert.ok(file.bytes.subarray(dynamic.length, dynamic.length + MIB).equals(Buffer.alloc(MIB, 1)));
});

test('an image that ends anywhere is damaged, or holds what it held', async () => {
  const { dynamic, differencing, unclean } = samples;
  const borders = [0, 8, 520, 64, 65, 128, 129, 192, 256, 257, 320].map((n) =>
    n > 300 ? n * KIB : n,
  );
  for (const image of [dynamic, differencing, unclean]) {
    const content = await contentOf(path, image);
    for (let cut = 0; cut <= image.length; cut += MIB) borders.push(cut, cut + 1, cut - 1);
    for (const cut of borders.filter((border) => border >= 0 && border <= image.length)) {
      try {
        assert.ok(
          (await contentOf(path, Buffer.from(image.subarray(0, cut)))).equals(content),
          `at ${cut}`,
        );
      } catch (error) {
        assert.ok(isCofferError(error, 'image-damaged'), `cut at ${cut}: ${String(error)}`);
      }
    }
  }
});

test('a file that is not there, or is none, is told from a damaged one', async () => {
  mkdirSync(join(folder, 'folder'));
  writeFileSync(join(folder, 'empty'), '');
  const fails = (code: ErrorCode) => (error: unknown) => isCofferError(error, code);
  await assert.rejects(openVhdx(join(folder, 'none')), fails('source-not-found'));
  await assert.rejects(openVhdx(join(folder, 'folder')), fails('source-unreadable'));
  await assert.rejects(openVhdx(join(folder, 'empty')), fails('image-damaged'));
  const options = { random };
  await assert.rejects(openWritableVhdx(join(folder, 'none'), options), fails('target-unwritable'));
  await assert.rejects(openWritableVhdx(join(folder, 'empty'), options), fails('image-damaged'));
});
