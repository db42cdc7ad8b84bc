/**
 * Xpress with Huffman codes (MS-XCA 2.2), by which Windows compresses files as a whole. A piece of a
 * file is one block: 256 bytes with the lengths of the codes of 512 symbols, then words of bits, and
 * among them, where the bits leave off, bytes of long lengths.
 */
import { damaged } from './fields.ts';

const STRUCTURE = 'compressed file';
const SYMBOL_COUNT = 512;
const TABLE_BYTES = SYMBOL_COUNT / 2;
const CODE_BITS_MAX = 15;
const TABLE_SIZE = 2 ** CODE_BITS_MAX;
/** The first symbol that stands for a copy of what came before. */
const COPY = 256;
const LENGTH_MIN = 3;
/** Bits are read ahead by up to two words. */
const READ_AHEAD_BYTES = 4;

/**
 * Decompresses one block, which fills `target`. `offset` is where it is, for errors. Fails with
 * `file-system-damaged`.
 */
export function decompressXpress(source: Buffer, target: Buffer, offset: number): void {
  const problem = decompress(source, target);
  if (problem) throw damaged(STRUCTURE, offset, problem);
}

/** Returns what is wrong, if something is. */
function decompress(source: Buffer, target: Buffer): string | undefined {
  if (source.length < TABLE_BYTES) return 'it has no table of codes';
  const symbols = decodingTable(source);
  if (!symbols) return 'its table of codes is impossible';
  const bits = new BitReader(source);
  for (let done = 0; done < target.length;) {
    const symbol = symbols[bits.peek(CODE_BITS_MAX)]!;
    bits.skip(codeLength(source, symbol));
    if (bits.isBeyondEnd) return 'it ends too early';
    if (symbol < COPY) {
      target[done++] = symbol;
      continue;
    }
    const length = readLength(bits, (symbol - COPY) & 0xf) + LENGTH_MIN;
    const distanceBits = (symbol - COPY) >> 4;
    const distance = 2 ** distanceBits + bits.peek(distanceBits);
    bits.skip(distanceBits);
    if (distance > done) return 'a copy leads before its block';
    if (done + length > target.length) return 'it holds too much';
    for (const end = done + length; done < end; done++) target[done] = target[done - distance]!;
  }
  return undefined;
}

/** For each possible next 15 bits their symbol; undefined unless the codes are complete. */
function decodingTable(source: Buffer): Uint16Array | undefined {
  const table = new Uint16Array(TABLE_SIZE);
  let next = 0;
  for (let length = 1; length <= CODE_BITS_MAX; length++) {
    const count = 2 ** (CODE_BITS_MAX - length);
    for (let symbol = 0; symbol < SYMBOL_COUNT; symbol++) {
      if (codeLength(source, symbol) !== length) continue;
      if (next + count > TABLE_SIZE) return undefined;
      table.fill(symbol, next, next + count);
      next += count;
    }
  }
  return next === TABLE_SIZE ? table : undefined;
}

function codeLength(source: Buffer, symbol: number): number {
  return (source[symbol >> 1]! >> (4 * (symbol & 1))) & 0xf;
}

/** Up to 14 in the symbol itself, then up to 254 more in a byte, or all of it in two or four. */
function readLength(bits: BitReader, inSymbol: number): number {
  if (inSymbol < 15) return inSymbol;
  const more = bits.bytes(1);
  if (more < 255) return more + 15;
  const length = bits.bytes(2);
  return length === 0 ? bits.bytes(4) : length;
}

/** Words of 16 bits, from the highest bit on. At least 16 bits are held ahead. */
class BitReader {
  readonly #source: Buffer;
  #at = TABLE_BYTES;
  /** The next bits, at the top of 32. */
  #held = 0;
  /** How many bits are held beyond 16; below 0 a word is due. */
  #extra = 16;

  constructor(source: Buffer) {
    this.#source = source;
    this.#held = ((this.bytes(2) << 16) | this.bytes(2)) >>> 0;
  }

  get isBeyondEnd(): boolean {
    return this.#at > this.#source.length + READ_AHEAD_BYTES;
  }

  peek(count: number): number {
    return count === 0 ? 0 : this.#held >>> (32 - count);
  }

  skip(count: number): void {
    this.#held = (this.#held << count) >>> 0;
    this.#extra -= count;
    if (this.#extra >= 0) return;
    this.#held = (this.#held | (this.bytes(2) << -this.#extra)) >>> 0;
    this.#extra += 16;
  }

  /** An integer of whole bytes that stands after the words that were read; zeroes after the end. */
  bytes(size: 1 | 2 | 4): number {
    let value = 0;
    for (let index = 0; index < size; index++) {
      value += (this.#source[this.#at++] ?? 0) * 2 ** (8 * index);
    }
    return value;
  }
}
