/** `coffer benchmark`: how fast this machine is at what backup and restore do, part by part. */
import { createCipheriv } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { isCofferError, KeyedDigest, mapBounded, seededRandom } from '@coffer/base';
import { probeName } from '@coffer/repository';
import { compress } from '@coffer/repository/chunk/compression.ts';
import { Cutter } from '@coffer/repository/chunk/cutter.ts';
import { type ObjectStore, refuseAppendOnly } from '@coffer/storage/object-store.ts';
import { random, withStore } from '../compose.ts';
import { formatBytes, printLine, printResult } from '../output.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';

const CHUNK_SIZE_BYTES = 256 * 1024;
const DATA_SIZE_BYTES = 32 * 1024 * 1024;
/** As large as a pack, and as many at once as a backup writes. */
const OBJECT_SIZE_BYTES = 32 * 1024 * 1024;
const OBJECT_COUNT = 4;
/** Each part runs at least this long. */
const PART_MS = 400;

interface StoreSpeed {
  readonly location: string;
  readonly putBytesPerSecond: number;
  readonly getBytesPerSecond: number;
  /** Of one small object, after the other. */
  readonly putLatencyMs: number;
  readonly getLatencyMs: number;
}

export async function runBenchmark(options: GlobalOptions): Promise<void> {
  const machine = measureMachine();
  const store = await measureStoreOf(options);
  printResult(options, { ...machine, store: store ?? null }, () => {
    printLine('one core:');
    for (const [part, speed] of Object.entries(machine.bytesPerSecond)) {
      printLine(`  ${part.padEnd(12)} ${formatBytes(speed)}/s`);
    }
    printLine(`  zstd makes the test data ${machine.zstdRatio.toFixed(2)} times smaller`);
    printLine(`cores used: ${machine.cores}`);
    if (store) printStore(store);
  });
}

function measureMachine(): {
  cores: number;
  bytesPerSecond: Record<'blake3' | 'zstd1' | 'aes256gcm' | 'cutting', number>;
  zstdRatio: number;
} {
  const data = testData();
  const chunks = Array.from({ length: DATA_SIZE_BYTES / CHUNK_SIZE_BYTES }, (_, index) =>
    data.subarray(index * CHUNK_SIZE_BYTES, (index + 1) * CHUNK_SIZE_BYTES),
  );
  const key = random.bytes(32);
  const hasher = new KeyedDigest(key);
  const cutter = new Cutter(key);
  let compressedBytes = 0;
  return {
    cores: availableParallelism(),
    bytesPerSecond: {
      blake3: speedOf(() => chunks.forEach((chunk) => hasher.of(chunk))),
      zstd1: speedOf(() => {
        compressedBytes = 0;
        for (const chunk of chunks) compressedBytes += (compress(chunk) ?? chunk).length;
      }),
      aes256gcm: speedOf(() => chunks.forEach((chunk, index) => seal(key, index, chunk))),
      cutting: speedOf(() => cutter.cut(data, true)),
    },
    zstdRatio: DATA_SIZE_BYTES / compressedBytes,
  };
}

/** Half of it words that repeat, half of it noise: between documents and photographs. */
function testData(): Buffer {
  const seeded = seededRandom(1);
  const words = Array.from({ length: 512 }, () => seeded.bytes(8).toString('base64'));
  const data = Buffer.alloc(DATA_SIZE_BYTES);
  for (let offset = 0; offset < data.length; offset += CHUNK_SIZE_BYTES) {
    const noise = random.bytes(CHUNK_SIZE_BYTES / 2);
    const text = Array.from(noise.subarray(0, 8192), (byte, at) => words[(byte + at) % 512]);
    data.write(text.join(' '), offset);
    noise.copy(data, offset + CHUNK_SIZE_BYTES / 2);
  }
  return data;
}

function seal(key: Buffer, ordinal: number, chunk: Buffer): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(ordinal);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.update(chunk);
  cipher.final();
  return cipher.getAuthTag();
}

/** Bytes a second of a task that goes through the test data once. */
function speedOf(pass: () => void): number {
  pass();
  let passes = 0;
  const startedAt = performance.now();
  while (performance.now() - startedAt < PART_MS) {
    pass();
    passes++;
  }
  return perSecond(passes * DATA_SIZE_BYTES, startedAt);
}

function perSecond(bytes: number, startedAt: number): number {
  return Math.round((bytes * 1000) / Math.max(1, performance.now() - startedAt));
}

/** Undefined where nobody named a repository and there is none yet. */
async function measureStoreOf(options: GlobalOptions): Promise<StoreSpeed | undefined> {
  const { location, isEmbedded } = chooseRepository(options);
  try {
    return await withStore(location, {}, measureStore);
  } catch (error) {
    if (isEmbedded && isCofferError(error, 'repository-not-found')) return undefined;
    throw error;
  }
}

/** With temporary objects, which are removed whatever happens. */
async function measureStore(store: ObjectStore, last: () => ObjectStore): Promise<StoreSpeed> {
  refuseAppendOnly(store);
  const prefix = probeName(random);
  const large = Array.from({ length: OBJECT_COUNT }, (_, index) => `${prefix}-large-${index}`);
  const small = Array.from({ length: OBJECT_COUNT }, (_, index) => `${prefix}-small-${index}`);
  const limit = { sizeBytesMax: OBJECT_SIZE_BYTES };
  const bytes = random.bytes(OBJECT_SIZE_BYTES);
  try {
    const putStart = performance.now();
    await mapBounded(large, OBJECT_COUNT, (name) => store.put(name, bytes));
    const putBytesPerSecond = perSecond(OBJECT_COUNT * OBJECT_SIZE_BYTES, putStart);
    const getStart = performance.now();
    await mapBounded(large, OBJECT_COUNT, (name) => store.get(name, limit));
    const getBytesPerSecond = perSecond(OBJECT_COUNT * OBJECT_SIZE_BYTES, getStart);
    const putLatencyMs = await latencyOf(small, (name) => store.put(name, random.bytes(64)));
    const getLatencyMs = await latencyOf(small, (name) => store.get(name, limit));
    const { location } = store;
    return { location, putBytesPerSecond, getBytesPerSecond, putLatencyMs, getLatencyMs };
  } finally {
    const left = last();
    await mapBounded([...large, ...small], OBJECT_COUNT, (name) => left.delete(name));
  }
}

async function latencyOf(
  names: readonly string[],
  call: (name: string) => Promise<unknown>,
): Promise<number> {
  const startedAt = performance.now();
  for (const name of names) await call(name);
  return Math.round(((performance.now() - startedAt) / names.length) * 10) / 10;
}

function printStore(store: StoreSpeed): void {
  printLine(`store ${store.location}:`);
  printLine(`  put          ${formatBytes(store.putBytesPerSecond)}/s`);
  printLine(`  get          ${formatBytes(store.getBytesPerSecond)}/s`);
  printLine(`  small put    ${store.putLatencyMs} ms`);
  printLine(`  small get    ${store.getLatencyMs} ms`);
}
