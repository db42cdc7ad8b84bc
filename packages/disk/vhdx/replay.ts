/** Replaying the log ([MS-VHDX] 2.3.3): in memory for a file that is read, or into the file. */
import type { ByteRange, Disk, Extent } from '../disk.ts';
import { damaged, type Place } from './damage.ts';
import type { ImageFile } from './image-file.ts';
import type { LogEntry } from './log-sequence.ts';
import { LOG_SECTOR_BYTES } from './sizes.ts';

/** 1 GiB: zeroes take no space in the log. The largest table that is made at once has a quarter. */
const SECTORS_MAX = 256 * 1024;

const ZEROES = Buffer.alloc(LOG_SECTOR_BYTES);

/** What a replay writes, and how long the file has to be after it. */
export interface Replay {
  /** By offset in the file, in bytes. */
  readonly sectors: ReadonlyMap<number, Buffer>;
  readonly sizeBytes: number;
}

/** Fails with `image-damaged` when the file was cut, or the log writes more than metadata. */
export function replayOf(
  sequence: readonly LogEntry[],
  fileSizeBytes: number,
  place: Place,
): Replay {
  const sectors = new Map<number, Buffer>();
  const head = sequence.at(-1)?.header;
  if (head && fileSizeBytes < head.flushedFileOffset) {
    throw damaged(place, `the file was cut, it had ${head.flushedFileOffset} bytes`);
  }
  let sizeBytes = Math.max(fileSizeBytes, head?.lastFileOffset ?? 0);
  for (const { fileOffset, length, bytes } of sequence.flatMap(({ updates }) => updates)) {
    if (sectors.size + length / LOG_SECTOR_BYTES > SECTORS_MAX) {
      throw damaged(place, 'the log writes too much');
    }
    for (let done = 0; done < length; done += LOG_SECTOR_BYTES) {
      sectors.set(fileOffset + done, bytes ?? ZEROES);
    }
    sizeBytes = Math.max(sizeBytes, fileOffset + length);
  }
  return { sectors, sizeBytes };
}

/** Writes what the log says, and makes it durable. */
export async function replayInto(file: ImageFile, { sectors, sizeBytes }: Replay): Promise<void> {
  if (sizeBytes > file.sizeBytes) await file.resize(sizeBytes);
  for (const [offset, bytes] of sectors) await file.write(offset, bytes);
  await file.flush();
}

/** The file as it is after the replay. */
export class ReplayedFile implements Disk {
  readonly sizeBytes: number;
  readonly #file: Disk;
  readonly #sectors: ReadonlyMap<number, Buffer>;

  constructor(file: Disk, { sectors, sizeBytes }: Replay) {
    this.#file = file;
    this.#sectors = sectors;
    this.sizeBytes = sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const inFile = Math.min(target.length, Math.max(0, this.#file.sizeBytes - offset));
    if (inFile > 0) await this.#file.read(offset, target.subarray(0, inFile));
    target.fill(0, inFile);
    const end = offset + target.length;
    for (let at = offset - (offset % LOG_SECTOR_BYTES); at < end; at += LOG_SECTOR_BYTES) {
      const sector = this.#sectors.get(at);
      if (sector) overlay(target, offset, sector, at);
    }
  }

  *extents(range: ByteRange = { offset: 0, length: this.sizeBytes }): Iterable<Extent> {
    if (range.length > 0) yield { ...range, kind: 'data' };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Copies of the sector what lies in the target; both are told where they begin in the file. */
function overlay(target: Uint8Array, offset: number, sector: Buffer, sectorOffset: number): void {
  const start = Math.max(offset, sectorOffset);
  const end = Math.min(offset + target.length, sectorOffset + sector.length);
  target.set(sector.subarray(start - sectorOffset, end - sectorOffset), start - offset);
}
