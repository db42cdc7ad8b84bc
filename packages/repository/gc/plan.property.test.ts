import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GC_PLAN_DEFAULTS, type PackFacts, planGc } from './plan.ts';

const MIB = 1024 * 1024;

const packs: fc.Arbitrary<PackFacts[]> = fc
  .array(
    fc.record({
      sizeBytes: fc.integer({ min: 2000, max: 32 * MIB }),
      entryCount: fc.integer({ min: 1, max: 1000 }),
      live: fc.oneof(fc.constant(0), fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
    }),
    { maxLength: 60 },
  )
  .map((list) =>
    list.map(({ sizeBytes, entryCount, live }, index) => {
      const liveCount = Math.round(entryCount * live);
      const liveBytes = Math.floor((sizeBytes - 1000) * (liveCount / entryCount));
      return { pack: String(index), sizeBytes, entryCount, liveCount, liveBytes };
    }),
  );

const options = fc.record({
  wasteMax: fc.double({ min: 0, max: 1, noNaN: true }),
  smallPackBytes: fc.constantFrom(0, MIB, 8 * MIB),
  smallPacksMax: fc.integer({ min: 1, max: 40 }),
  packsMax: fc.constantFrom(3, 100_000),
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

test('a pack with a live chunk is never removed, and one without is never moved', () => {
  fc.assert(
    fc.property(packs, options, (list, chosen) => {
      const { remove, repack } = planGc(list, chosen);
      const byName = new Map(list.map((pack) => [pack.pack, pack]));
      for (const pack of remove) assert.equal(byName.get(pack)!.liveCount, 0);
      for (const pack of repack) assert.ok(byName.get(pack)!.liveCount > 0);
      const all = [...remove, ...repack];
      assert.equal(new Set(all).size, all.length, 'no pack is named twice');
      assert.ok(all.length <= Math.max(chosen.packsMax, 0));
    }),
  );
});

test('unless it is limited, it removes every dead pack and leaves no more waste than allowed', () => {
  fc.assert(
    fc.property(packs, options, (list, chosen) => {
      const plan = planGc(list, { ...chosen, packsMax: 100_000 });
      const dead = list.filter(({ liveCount }) => liveCount === 0);
      assert.deepEqual(
        plan.remove,
        dead.map(({ pack }) => pack),
      );
      const aliveBytes = sum(list.filter((p) => p.liveCount > 0).map((p) => p.sizeBytes));
      assert.ok(plan.bytesWasted <= chosen.wasteMax * aliveBytes + 1);
    }),
  );
});

test('its sums agree', () => {
  fc.assert(
    fc.property(packs, options, (list, chosen) => {
      const plan = planGc(list, chosen);
      const gone = new Set([...plan.remove, ...plan.repack]);
      const goneBytes = sum(list.filter(({ pack }) => gone.has(pack)).map((p) => p.sizeBytes));
      assert.equal(plan.bytesTotal, sum(list.map(({ sizeBytes }) => sizeBytes)));
      assert.equal(plan.bytesFreed, goneBytes - plan.bytesMoved);
      assert.ok(plan.bytesFreed >= 0);
    }),
  );
});

test('packs that are whole stay, unless there are many small ones', () => {
  const whole = (index: number, sizeBytes: number): PackFacts => {
    const liveBytes = sizeBytes - 500;
    return { pack: String(index), sizeBytes, entryCount: 9, liveCount: 9, liveBytes };
  };
  const few = Array.from({ length: 32 }, (_, index) => whole(index, MIB));
  assert.deepEqual(planGc(few).repack, []);
  assert.equal(planGc([...few, whole(99, MIB)]).repack.length, 33);
  assert.deepEqual(planGc([...few, whole(99, 30 * MIB)]).repack, []);
});

test('the most wasteful packs are moved first, and no more than needed', () => {
  const packOf = (pack: string, liveBytes: number): PackFacts => ({
    pack,
    sizeBytes: 10_000,
    entryCount: 10,
    liveCount: 5,
    liveBytes,
  });
  const list = [packOf('little', 9000), packOf('much', 1000), packOf('some', 8000)];
  const chosen = { ...GC_PLAN_DEFAULTS, smallPackBytes: 0 };
  assert.deepEqual(planGc(list, { ...chosen, wasteMax: 0.1 }).repack, ['much']);
  assert.deepEqual(planGc(list, { ...chosen, wasteMax: 0.04 }).repack, ['much', 'some']);
  assert.deepEqual(planGc(list, { ...chosen, wasteMax: 1 }).repack, []);
});
