/**
 * Puts files into an exFAT volume that mkfs.exfat has made, since no program here writes to one;
 * fsck.exfat judges the result.
 */
import assert from 'node:assert/strict';

export interface BuiltFile {
  readonly name: string;
  /** Undefined for a folder. */
  readonly content: Buffer | undefined;
  /** Names in a folder. */
  readonly entries?: readonly BuiltFile[];
  /** Its clusters follow each other, and the table says nothing of them. */
  readonly isContiguous: boolean;
  /** Bytes behind these are not written. */
  readonly validBytes?: number;
}

const RECORD_BYTES = 32;

export class ExfatBuilder {
  readonly #image: Buffer;
  readonly #tableOffset: number;
  readonly #heapOffset: number;
  readonly #clusterBytes: number;
  readonly #rootCluster: number;
  readonly #bitmapOffset: number;
  #nextCluster = 0;

  constructor(image: Buffer) {
    this.#image = image;
    const sectorBytes = 2 ** image[108]!;
    this.#tableOffset = image.readUInt32LE(80) * sectorBytes;
    this.#heapOffset = image.readUInt32LE(88) * sectorBytes;
    this.#clusterBytes = sectorBytes * 2 ** image[109]!;
    this.#rootCluster = image.readUInt32LE(96);
    const root = this.#place(this.#rootCluster);
    const bitmap = Array.from({ length: 16 }, (_, index) => root + index * RECORD_BYTES).find(
      (offset) => image[offset] === 0x81,
    );
    assert.ok(bitmap !== undefined, 'the volume has a bitmap');
    this.#bitmapOffset = this.#place(image.readUInt32LE(bitmap + 20));
    this.#nextCluster = this.#rootCluster + 1;
  }

  addToRoot(files: readonly BuiltFile[]): void {
    const root = this.#place(this.#rootCluster);
    let offset = root;
    while (this.#image[offset] !== 0) offset += RECORD_BYTES;
    const sets = Buffer.concat(files.map((file) => this.#add(file)));
    assert.ok(offset + sets.length <= root + this.#clusterBytes, 'the root has one cluster');
    sets.copy(this.#image, offset);
  }

  /** Writes what is in the file, and returns its set of records. */
  #add(file: BuiltFile): Buffer {
    const { name, content, entries, isContiguous, validBytes } = file;
    const folder = entries && Buffer.concat(entries.map((entry) => this.#add(entry)));
    const bytes = folder ? this.#padded(folder) : (content ?? Buffer.alloc(0));
    const first = bytes.length === 0 ? 0 : this.#write(bytes, isContiguous);
    const nameRecords = Math.ceil(name.length / 15);
    const set = Buffer.alloc((2 + nameRecords) * RECORD_BYTES);
    set[0] = 0x85;
    set[1] = 1 + nameRecords;
    set.writeUInt16LE(entries ? 0x10 : 0x20, 4);
    // 15 June 2024, 10:20:30.55, two hours east of Greenwich.
    for (const start of [8, 12, 16]) set.writeUInt32LE(stamp(), start);
    set.fill(55, 20, 22);
    set.fill(0x80 | 8, 22, 25);
    set[32] = 0xc0;
    set[33] = 0x01 | (isContiguous && bytes.length > 0 ? 0x02 : 0);
    set[35] = name.length;
    set.writeUInt16LE(nameHash(name), 36);
    set.writeBigUInt64LE(BigInt(validBytes ?? bytes.length), 40);
    set.writeUInt32LE(first, 52);
    set.writeBigUInt64LE(BigInt(bytes.length), 56);
    for (let record = 0; record < nameRecords; record++) {
      const start = (2 + record) * RECORD_BYTES;
      set[start] = 0xc1;
      set.write(name.slice(record * 15, record * 15 + 15), start + 2, 'utf16le');
    }
    set.writeUInt16LE(setChecksum(set), 2);
    return set;
  }

  #padded(bytes: Buffer): Buffer {
    const count = Math.max(1, Math.ceil(bytes.length / this.#clusterBytes));
    return Buffer.concat([bytes], count * this.#clusterBytes);
  }

  /** Takes clusters one after the other, or every second one, and returns the first. */
  #write(bytes: Buffer, isContiguous: boolean): number {
    const count = Math.ceil(bytes.length / this.#clusterBytes);
    const step = isContiguous ? 1 : 2;
    const first = this.#nextCluster;
    for (let index = 0; index < count; index++) {
      const cluster = first + index * step;
      const start = index * this.#clusterBytes;
      bytes.copy(this.#image, this.#place(cluster), start, start + this.#clusterBytes);
      const bit = cluster - 2;
      this.#image[this.#bitmapOffset + (bit >> 3)]! |= 1 << (bit & 7);
      const next = index + 1 < count ? cluster + step : 0xffff_ffff;
      if (!isContiguous) this.#image.writeUInt32LE(next, this.#tableOffset + cluster * 4);
    }
    this.#nextCluster = first + count * step;
    return first;
  }

  #place(cluster: number): number {
    return this.#heapOffset + (cluster - 2) * this.#clusterBytes;
  }
}

function stamp(): number {
  const date = ((2024 - 1980) << 9) | (6 << 5) | 15;
  const time = (10 << 11) | (20 << 5) | (30 / 2);
  return date * 0x1_0000 + time;
}

function setChecksum(set: Buffer): number {
  let sum = 0;
  for (const [index, byte] of set.entries()) {
    if (index !== 2 && index !== 3) sum = (((sum << 15) | (sum >> 1)) + byte) & 0xffff;
  }
  return sum;
}

function nameHash(name: string): number {
  let sum = 0;
  // The table of upper-case letters has one for one.
  const letters = Array.from(name, (letter) =>
    letter.toUpperCase().length === 1 ? letter.toUpperCase() : letter,
  );
  for (const byte of Buffer.from(letters.join(''), 'utf16le')) {
    sum = (((sum << 15) | (sum >> 1)) + byte) & 0xffff;
  }
  return sum;
}
