// One step of bench/index-scale.ts: adds entries, or looks some up; prints what it took as JSON.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ChunkIndex } from '@coffer/repository';
import { kindOf } from '@coffer/repository/chunk/chunk-id.ts';
import type { PackDescription, PackEntry } from '@coffer/repository/pack/pack-codec.ts';

// As a backup of disks writes them.
const CHUNKS_PER_PACK = 128;
const PACKS_PER_OBJECT = 128;
/** Any bytes: what is sealed is not looked at. */
const KEY_BOX = Buffer.alloc(80, 1);

const [step, folder, countText] = process.argv.slice(2);
if (step === undefined || folder === undefined) throw new Error('STEP FOLDER COUNT');
const count = Number(countText);
const index = ChunkIndex.open(folder);
const startedAt = performance.now();
const found = step === 'fill' ? await fill() : find(step === 'find');
const seconds = (performance.now() - startedAt) / 1000;
const memory = residentMiB();
await index.close();
console.log(JSON.stringify({ seconds, found, ...memory }));

async function fill(): Promise<number> {
  const perObject = CHUNKS_PER_PACK * PACKS_PER_OBJECT;
  for (let first = 0; first < count; first += perObject) {
    const packs: PackDescription[] = [];
    for (let pack = first; pack < Math.min(count, first + perObject); pack += CHUNKS_PER_PACK) {
      packs.push(describePack(pack, Math.min(CHUNKS_PER_PACK, count - pack)));
    }
    await index.add(`index/00000000-${idOf(first).toString('hex')}`, packs);
  }
  return count;
}

function find(known: boolean): number {
  let hits = 0;
  for (let lookup = 0; lookup < count; lookup++) {
    // A step that is prime to the number of entries visits them in no order of the index.
    const number = known ? (lookup * 7_919_317) % 20_000_000 : -1 - lookup;
    if (index.find(idOf(number))) hits++;
  }
  return hits;
}

function describePack(first: number, entryCount: number): PackDescription {
  const entries: PackEntry[] = [];
  for (let place = 0; place < entryCount; place++) {
    const layout = { keyIndex: 0, ordinal: place, offset: 24 + place * 100_000, length: 100_000 };
    const id = idOf(first + place);
    const seal = { kind: kindOf(id), compressed: true, padded: false };
    entries.push({ id, ...seal, plainLength: 262_144, ...layout });
  }
  const pack = idOf(first + 0.5);
  return { pack, sizeBytes: 24 + entryCount * 100_000, keyBoxes: [KEY_BOX], entries };
}

function idOf(number: number): Buffer {
  return createHash('sha256').update(String(number)).digest();
}

function residentMiB(): { rssMiB: number; rssAnonMiB: number; rssFileMiB: number } {
  const status = readFileSync('/proc/self/status', 'utf8');
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024;
  return { rssMiB: field('VmRSS'), rssAnonMiB: field('RssAnon'), rssFileMiB: field('RssFile') };
}
