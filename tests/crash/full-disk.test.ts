/** A store on a small volume that fills up. Mounting needs root: without it these are not run. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, statfsSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { collectGarbage, type UnlockedRepository, verifyRepository } from '@coffer/repository';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { EAGER_PLAN, IntactRepository, stillClock } from '../damage/intact.ts';

const notRoot = process.getuid?.() === 0 ? false : 'NOT RUN: mounting a volume needs root';
const VOLUME_BYTES = 8 * 1024 * 1024;
/** In seconds since 1970. */
const LONG_AGO = 1_000_000_000;

describe('a store without space', { skip: notRoot }, () => {
  it('fails a backup clearly, loses nothing, and works when there is space again', async (t) => {
    const { intact, repository, volume } = await smallVolume(t);
    const before = await checkWhole(repository);
    intact.source.change('disk');
    const release = fillUp(volume, 20_000);
    await assert.rejects(intact.backUp(repository, 'disk'), isFull);
    assert.deepEqual(await checkWhole(repository), before);
    release();
    const point = await intact.backUp(repository, 'disk');
    assert.ok((await checkWhole(repository)).includes(point));
  });

  it('fails a collection clearly at any moment, also in the midst of moving', async (t) => {
    const { intact, repository, volume } = await smallVolume(t);
    intact.source.change('disk');
    await intact.backUp(repository, 'disk');
    const old = (await repository.points()).find(({ item }) => item === 'disk')!;
    await repository.removePoint(old);
    const before = await checkWhole(repository);
    let failed = 0;
    for (const leftBytes of [0, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288]) {
      const release = fillUp(volume, leftBytes);
      try {
        await collectGarbage({ repository, plan: EAGER_PLAN });
      } catch (error) {
        assert.ok(isFull(error), String(error));
        failed++;
      }
      release();
      assert.deepEqual(await checkWhole(repository), before);
    }
    assert.ok(failed > 0, 'some of these were without space');
    for (let round = 0; round < 3; round++) await collectGarbage({ repository, plan: EAGER_PLAN });
    assert.deepEqual(await checkWhole(repository), before);
    const last = await collectGarbage({ repository, plan: EAGER_PLAN });
    assert.equal(last.outcome, 'nothing-to-do');
    await intact.backUp(repository, 'files');
    await checkWhole(repository);
  });
});

function isFull(error: unknown): boolean {
  return isCofferError(error, 'store-full');
}

/** Verifies all with its data; returns the ids of the points. */
async function checkWhole(repository: UnlockedRepository): Promise<string[]> {
  const { findings } = await verifyRepository({ repository, readFraction: 1 });
  assert.deepEqual(findings, []);
  return (await repository.points()).map(({ id }) => id);
}

async function smallVolume(
  t: TestContext,
): Promise<{ intact: IntactRepository; repository: UnlockedRepository; volume: string }> {
  const intact = await IntactRepository.make(mkdtempSync(join(tmpdir(), 'coffer-full-')), 3);
  const volume = mkdtempSync(join(tmpdir(), 'coffer-volume-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${VOLUME_BYTES}`, 'tmpfs', volume]);
  t.after(async () => {
    execFileSync('umount', ['--lazy', volume]);
    rmdirSync(volume);
    await intact.close();
  });
  // Late enough that the sessions that the fixture left open are over, and old enough in the store.
  const clock = stillClock(24 * 365 * 100);
  const store = await openFilesystemStore(volume, { clock, random: seededRandom(9) });
  for (const [name, bytes] of intact.objects) {
    await store.put(name, bytes);
    utimesSync(join(volume, name), LONG_AGO, LONG_AGO);
  }
  const repository = (await intact.open(store, 24 * 365 * 100)).unlockWith(intact.keys);
  return { intact, repository, volume };
}

/** Leaves so many bytes of the volume; returns what gives the others back. */
function fillUp(volume: string, leftBytes: number): () => void {
  const { bavail, bsize } = statfsSync(volume);
  const filler = join(volume, 'FILLER');
  writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)));
  return () => rmSync(filler);
}
