// One step of bench/points.ts: makes a repository of many points, or lists some; prints what it took
// as JSON.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { seededRandom, systemProcesses } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { inlineChunkPool, type PointFilter, Repository } from '@coffer/repository';
import { newConfig } from '@coffer/repository/config.ts';
import { writeConfig } from '@coffer/repository/config-objects.ts';
import { encodeDeletion, deletionName } from '@coffer/repository/deleted-points.ts';
import { encodeGcRecord, gcObjectName } from '@coffer/repository/generations/gc-record.ts';
import { encodeHold, holdName } from '@coffer/repository/hold.ts';
import { parsePointObjectName } from '@coffer/repository/recovery-point.ts';
import { generateKeyPair } from '@coffer/repository/sealed-box.ts';
import { putPoints } from '@coffer/repository/testing/large-repository.ts';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';

/** A month of points each day, of each item. */
const POINTS_PER_ITEM = 30;
/** Of these, one in so many is hidden, and one is held. */
const DELETED_EVERY = 50;
const HELD_EVERY = 100;

const [step, scratch, countText] = process.argv.slice(2);
if (step === undefined || scratch === undefined) throw new Error('STEP FOLDER COUNT');
const count = Number(countText);
const location = join(scratch, 'repository');
const random = seededRandom(1);
const keys = { ...generateKeyPair(random), hashKey: random.bytes(32) };
const startedAt = performance.now();
let againSeconds = 0;
const points = step === 'make' ? await make() : await list();
const seconds = (performance.now() - startedAt) / 1000 - againSeconds;
const rssMiB = process.memoryUsage().rss / 2 ** 20;
console.log(JSON.stringify({ points, seconds, againSeconds, rssMiB }));

async function make(): Promise<number> {
  mkdirSync(location, { recursive: true });
  const store = await openFilesystemStore(location, { create: true });
  await writeConfig(store, newConfig({ ...keys, createdAt: 1, random }));
  await store.close();
  const survivors: string[] = [];
  const itemCount = Math.ceil(count / POINTS_PER_ITEM);
  await putPoints({ ...keys, random }, { count, itemCount }, (name, bytes) => {
    write(name, bytes);
    const { id } = parsePointObjectName(name)!;
    survivors.push(id);
    if (survivors.length % DELETED_EVERY === 0) {
      const deletion = { point: id, at: 1, until: 2, by: 'bench' };
      write(deletionName(id), encodeDeletion(deletion));
    }
    if (survivors.length % HELD_EVERY === 1) {
      const hold = { point: id, holder: 'person', reason: 'audit', by: 'bench', heldAt: 1 };
      write(holdName(hold), encodeHold(hold));
    }
  });
  const sweep = {
    generation: 1,
    collection: '0'.repeat(32),
    packs: [],
    survivors,
    indexObjects: [],
  };
  write(gcObjectName(1, 'sweep'), encodeGcRecord('sweep', sweep));
  write(gcObjectName(1, 'done'), encodeGcRecord('done', { generation: 1 }));
  return count;
}

/** As the store has it, without its care for power cuts. */
function write(name: string, bytes: Buffer): void {
  const path = join(location, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

async function list(): Promise<number> {
  const repository = await Repository.open(testRun(), {
    store: await openFilesystemStore(location, { create: false }),
    index: { cacheFolder: join(scratch!, 'cache') },
    processes: systemProcesses,
    chunkPool: inlineChunkPool(random),
  });
  const filters: Record<string, PointFilter | undefined> = { item: { item: 'item-7' } };
  const unlocked = repository.unlockWith(keys);
  const filter = filters[step!];
  const listed = await unlocked.points({ filter });
  const listedAt = performance.now();
  if (filter) await unlocked.points({ filter });
  againSeconds = (performance.now() - listedAt) / 1000;
  await repository.close();
  return listed.length;
}
