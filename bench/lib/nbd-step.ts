// NBD as one process of its own: `read URI`, `latency URI COUNT`, or `serve SOCKET FILE`.
import { seededRandom, systemClock } from '@coffer/base';
import { parseNbdUri } from '@coffer/disk/nbd/address.ts';
import { type NbdDisk, openNbdDisk } from '@coffer/disk/nbd/nbd-disk.ts';
import { startNbdServer } from '@coffer/disk/nbd/server.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';

const PIECE_BYTES = 4 * 2 ** 20;
const READERS = 2;
const SMALL_BYTES = 4096;

const [step, place, argument] = process.argv.slice(2) as [string, string, string];
if (step === 'serve') {
  const disk = await openRawDisk(argument);
  await startNbdServer({
    exports: [{ name: '', disk, readOnly: true }],
    place: { form: 'unix', path: place },
    onError: (error) => console.error(error.message),
  });
  console.log('ready');
} else {
  const disk = await openNbdDisk({
    address: parseNbdUri(place),
    tls: undefined,
    writable: false,
    connectTimeoutMs: 10_000,
    requestTimeoutMs: 60_000,
    reconnectTimeoutMs: 0,
    clock: systemClock,
  });
  console.log(JSON.stringify(step === 'read' ? await readAll(disk) : await latency(disk)));
  await disk.close();
}

/** Reads all data to nowhere. */
async function readAll(disk: NbdDisk): Promise<{ bytes: number }> {
  const pieces: { offset: number; length: number }[] = [];
  for await (const { offset, length, kind } of disk.extents()) {
    if (kind === 'zero') continue;
    for (let done = 0; done < length; done += PIECE_BYTES) {
      pieces.push({ offset: offset + done, length: Math.min(PIECE_BYTES, length - done) });
    }
  }
  let next = 0;
  let bytes = 0;
  const reader = async (): Promise<void> => {
    const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
    for (let piece = pieces[next++]; piece; piece = pieces[next++]) {
      await disk.read(piece.offset, buffer.subarray(0, piece.length));
      bytes += piece.length;
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
  return { bytes };
}

/** Reads 4 KiB at random places that hold data, one after the other. */
async function latency(disk: NbdDisk): Promise<{ p50Ms: number; p95Ms: number; p99Ms: number }> {
  const data: { offset: number; length: number }[] = [];
  for await (const extent of disk.extents()) if (extent.kind === 'data') data.push(extent);
  const total = data.reduce((sum, { length }) => sum + length, 0);
  const random = seededRandom(1);
  const target = Buffer.alloc(SMALL_BYTES);
  const times: number[] = [];
  for (let round = 0; round < Number(argument); round++) {
    const offset = placeOf(data, random.fraction() * total);
    const startedAt = performance.now();
    await disk.read(offset, target);
    times.push(performance.now() - startedAt);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.floor(times.length * share)]!;
  return { p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) };
}

function placeOf(data: readonly { offset: number; length: number }[], wanted: number): number {
  let left = wanted;
  for (const { offset, length } of data) {
    if (left < length) return offset + Math.floor(left / SMALL_BYTES) * SMALL_BYTES;
    left -= length;
  }
  return data[0]!.offset;
}
