import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isCofferError } from '@coffer/base';
import { decodeFooter, encodeFooter, type Footer, visibleSizeBytes } from './footer-codec.ts';
import { GEOMETRY_MAX, geometryOf, geometryToWrite, sectorsOf } from './geometry.ts';
import { decodeHeader, encodeHeader, type ParentLink } from './header-codec.ts';
import { decodeParentPath, lastNameOf, localPathOf } from './parent-path-codec.ts';
import { endOfRun, isPresent, markPresent } from './sector-bitmap.ts';
import { encodeParentPath, windowsPathOf } from './testing/differencing.ts';

/** Records as literals make them, which deep equality asks for. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(model, { noNullPrototype: true });

const PLACE = { path: 'image.vhd', structure: 'structure', offset: 0 };
const EPOCH_SECONDS = Date.UTC(2000, 0, 1) / 1000;

const timesMs = fc.nat({ max: 0xffff_ffff }).map((seconds) => (EPOCH_SECONDS + seconds) * 1000);
const ids = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
const geometries = record({
  cylinders: fc.nat({ max: 0xffff }),
  heads: fc.nat({ max: 0xff }),
  sectorsPerTrack: fc.nat({ max: 0xff }),
});
const footers: fc.Arbitrary<Footer> = record({
  type: fc.constantFrom('dynamic', 'differencing'),
  headerOffset: fc.nat(),
  createdAtMs: timesMs,
  creator: fc.constantFrom('cofr', 'vpc ', 'qem2', 'd2v\0'),
  currentSizeBytes: fc.nat({ max: 0xff00_0000 }).map((sectors) => sectors * 512),
  geometry: geometries,
  uniqueId: ids,
});
const parents: fc.Arbitrary<ParentLink> = record({
  uniqueId: ids,
  modifiedAtMs: timesMs,
  name: fc.string({ unit: 'grapheme', maxLength: 40 }).filter((name) => !name.includes('\0')),
  locators: fc.array(
    record({
      platform: fc.constantFrom('W2ru', 'W2ku', 'MacX'),
      offset: fc.nat(),
      length: fc.integer({ min: 1, max: 1000 }),
      sectorCount: fc.nat({ max: 10 }),
    }),
    { maxLength: 8 },
  ),
});

test('footers come back as they were written', () => {
  fc.assert(
    fc.property(footers, (footer) => {
      assert.deepEqual(decodeFooter(encodeFooter(footer), PLACE), footer);
    }),
  );
});

test('headers come back as they were written', () => {
  const sizes = record({
    tableOffset: fc.nat(),
    tableEntryCount: fc.nat(),
    blockSizeBytes: fc.integer({ min: 19, max: 28 }).map((power) => 2 ** power),
  });
  fc.assert(
    fc.property(sizes, parents, (header, parent) => {
      assert.deepEqual(decodeHeader(encodeHeader(header, parent), PLACE), { ...header, parent });
    }),
  );
});

test('any changed byte of a footer or header is noticed', () => {
  const footer = fc.sample(footers, 1)[0]!;
  const parent = fc.sample(parents, 1)[0]!;
  const header = { tableOffset: 1536, tableEntryCount: 3, blockSizeBytes: 2 ** 21 };
  const cases = [
    { bytes: encodeFooter(footer), decode: decodeFooter },
    { bytes: encodeHeader(header, parent), decode: decodeHeader },
  ];
  for (const { bytes, decode } of cases) {
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1 << (at % 8);
      assert.throws(
        () => decode(changed, PLACE),
        (error) => isCofferError(error, 'image-damaged'),
      );
    }
  }
});

test('the geometry is that of the specification', () => {
  const known: [sectors: number, cylinders: number, heads: number, sectorsPerTrack: number][] = [
    [17_408, 256, 4, 17],
    [69_615, 1023, 4, 17],
    [204_800, 1003, 12, 17],
    [300_000, 604, 16, 31],
    [2_097_152, 2080, 16, 63],
    [66_059_279, 65_534, 16, 63],
    [66_059_280, 16_191, 16, 255],
    [0xff00_0000, 65_535, 16, 255],
  ];
  for (const [sectors, cylinders, heads, sectorsPerTrack] of known) {
    assert.deepEqual(geometryOf(sectors), { cylinders, heads, sectorsPerTrack });
  }
});

test('a geometry that is written is the size, or says nothing about it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xff00_0000 }), (sectors) => {
      const geometry = geometryToWrite(sectors * 512);
      if (sectorsOf(geometry) !== sectors) assert.deepEqual(geometry, GEOMETRY_MAX);
    }),
  );
});

test('the size is the geometry for Virtual PC and old QEMU, and the current size for others', () => {
  const geometry = { cylinders: 100, heads: 4, sectorsPerTrack: 17 };
  const footer = { ...fc.sample(footers, 1)[0]!, geometry, currentSizeBytes: 10_000_000 };
  const sizes: [creator: string, sizeBytes: number][] = [
    ['vpc ', 100 * 4 * 17 * 512],
    ['qemu', 100 * 4 * 17 * 512],
    ['qem2', 10_000_000],
    ['win ', 10_000_000],
    ['d2v ', 10_000_000],
    ['vbox', 10_000_000],
    ['cofr', 10_000_000],
  ];
  for (const [creator, sizeBytes] of sizes) {
    assert.equal(visibleSizeBytes({ ...footer, creator }), sizeBytes, creator);
  }
  const unclear = [GEOMETRY_MAX, { ...geometry, heads: 0 }, { ...geometry, heads: 255 }];
  for (const geometry of unclear) {
    assert.equal(visibleSizeBytes({ ...footer, creator: 'vpc ', geometry }), 10_000_000);
  }
});

test('paths to parents are written as Windows has them, and read here', () => {
  for (const path of ['./parent.vhd', '../base/ü 日.vhd', '/images/parent.vhd']) {
    assert.equal(localPathOf(decodeParentPath(encodeParentPath(windowsPathOf(path)))), path);
  }
  assert.equal(windowsPathOf('parent.vhd'), '.\\parent.vhd');
  assert.equal(localPathOf('C:\\images\\parent.vhd'), undefined);
  assert.equal(localPathOf('\\\\server\\share\\parent.vhd'), undefined);
  assert.equal(lastNameOf('C:\\images\\parent.vhd'), 'parent.vhd');
  assert.equal(lastNameOf('..\\..'), '');
  assert.equal(decodeParentPath(Buffer.from('a\0b\0\0\0c\0', 'latin1')), 'ab');
});

test('runs of bits are found as when each bit is looked at', () => {
  const ranges = fc.array(fc.tuple(fc.nat({ max: 511 }), fc.nat({ max: 200 })), { maxLength: 6 });
  fc.assert(
    fc.property(ranges, (marked) => {
      const bitmap = Buffer.alloc(64);
      const bits = Array.from({ length: 512 }, () => false);
      for (const [from, count] of marked) {
        const end = Math.min(512, from + count);
        markPresent(bitmap, from, end);
        bits.fill(true, from, end);
      }
      for (let sector = 0; sector < 512;) {
        const end = endOfRun(bitmap, sector, 512);
        assert.ok(end > sector);
        for (let at = sector; at < end; at++) assert.equal(bits[at], isPresent(bitmap, sector));
        if (end < 512) assert.notEqual(bits[end], bits[sector]);
        sector = end;
      }
    }),
  );
});
