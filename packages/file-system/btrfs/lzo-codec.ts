/**
 * LZO1X as btrfs has it: a length, then segments of one sector each, decompressed. The instructions
 * are described in the kernel's documentation, staging/lzo.rst; btrfs has version 0 of the stream.
 */
import type { Fields } from './fields.ts';

const LENGTH_BYTES = 4;
/** A match with this distance, which none has, ends a stream. */
const END_DISTANCE = 16_384;
/** No literals were copied; some, 1 to 3, were; or a run of four or more. */
const AFTER_RUN = 4;

/** Decompresses all segments into `target`, and returns how many bytes it got. */
export function decompressLzo(source: Fields, target: Buffer, sectorBytes: number): number {
  const end = source.u32(0);
  if (end > source.length) throw source.damaged(`${end} bytes of LZO`);
  let written = 0;
  for (let at = LENGTH_BYTES; at < end && written < target.length;) {
    // The length of a segment does not cross a sector.
    const rest = sectorBytes - (at % sectorBytes);
    if (rest < LENGTH_BYTES) at += rest;
    if (at >= end) break;
    const length = source.u32(at);
    const segment = source.part(at + LENGTH_BYTES, length, 'LZO segment');
    written += new Decoder(segment, target.subarray(written, written + sectorBytes)).run();
    at += LENGTH_BYTES + length;
  }
  return written;
}

class Decoder {
  readonly #source: Fields;
  readonly #target: Buffer;
  #at = 0;
  #written = 0;
  /** Literals that the last instruction copied, or `AFTER_RUN`. */
  #state = 0;

  constructor(source: Fields, target: Buffer) {
    this.#source = source;
    this.#target = target;
  }

  /** Each instruction takes at least a byte of the source, so it ends. */
  run(): number {
    this.#begin();
    while (this.#step());
    return this.#written;
  }

  /** The first byte may stand for literals only. */
  #begin(): void {
    const first = this.#source.u8(0);
    if (first <= 17) return;
    this.#at = 1;
    this.#literals(first - 17);
    this.#state = Math.min(first - 17, AFTER_RUN);
  }

  /** False at the end. */
  #step(): boolean {
    const code = this.#byte();
    if (code >= 64) {
      this.#match((code >> 5) + 1, ((code >> 2) & 7) + (this.#byte() << 3) + 1, code);
    } else if (code >= 32) {
      const length = this.#length(code, 31) + 2;
      const operand = this.#operand();
      this.#match(length, (operand >> 2) + 1, operand);
    } else if (code >= 16) {
      const length = this.#length(code, 7) + 2;
      const operand = this.#operand();
      const distance = END_DISTANCE + ((code & 8) << 11) + (operand >> 2);
      if (distance === END_DISTANCE) return false;
      this.#match(length, distance, operand);
    } else {
      this.#short(code);
    }
    return true;
  }

  /** What the smallest codes mean depends on what was before. */
  #short(code: number): void {
    if (this.#state === 0) {
      this.#literals(this.#length(code, 15) + 3);
      this.#state = AFTER_RUN;
      return;
    }
    const distance = (code >> 2) + (this.#byte() << 2);
    if (this.#state === AFTER_RUN) this.#match(3, distance + 2049, code);
    else this.#match(2, distance + 1, code);
  }

  /** Bits of the code, or where they are zero, bytes that are added up as long as they are zero. */
  #length(code: number, mask: number): number {
    if ((code & mask) !== 0) return code & mask;
    let length = mask;
    let byte = this.#byte();
    while (byte === 0) {
      length += 255;
      byte = this.#byte();
    }
    return length + byte;
  }

  /** Copies from what was written; the last two bits of `trailer` are a count of literals. */
  #match(length: number, distance: number, trailer: number): void {
    const from = this.#written - distance;
    if (from < 0) throw this.#source.damaged('LZO refers to what is not there');
    this.#requireRoom(length);
    // Byte by byte: what is copied may be what is being written.
    for (let index = 0; index < length; index++) {
      this.#target[this.#written + index] = this.#target[from + index]!;
    }
    this.#written += length;
    this.#state = trailer & 3;
    this.#literals(this.#state);
  }

  #literals(count: number): void {
    this.#requireRoom(count);
    this.#source.part(this.#at, count).bytes.copy(this.#target, this.#written);
    this.#at += count;
    this.#written += count;
  }

  #requireRoom(count: number): void {
    if (this.#written + count > this.#target.length) throw this.#source.damaged('LZO is too long');
  }

  #byte(): number {
    return this.#source.u8(this.#at++);
  }

  #operand(): number {
    this.#at += 2;
    return this.#source.u16(this.#at - 2);
  }
}
