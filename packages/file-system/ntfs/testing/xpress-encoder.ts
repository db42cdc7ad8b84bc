/**
 * Compresses for tests as MS-XCA 2.1 says, with codes that are nearly all of one length: the format
 * is what counts, not the size.
 */

const SYMBOL_COUNT = 512;
const END = 256;
const TABLE_BYTES = 256;
const REACH_MAX = 65_535;
const LENGTH_MAX = 60_000;

interface Token {
  readonly symbol: number;
  /** Of a copy, less what its symbol says. */
  readonly length: number;
  readonly distanceBits: number;
  readonly distance: number;
}

export function compressXpress(source: Buffer): Buffer {
  const tokens = tokensOf(source);
  const used = new Set([END, ...tokens.map(({ symbol }) => symbol)]);
  // Codes need two symbols at least.
  if (used.size === 1) used.add(0);
  const lengths = codeLengths(used);
  const codes = canonicalCodes(lengths);
  const writer = new BitWriter(lengths);
  for (const { symbol, length, distanceBits, distance } of tokens) {
    writer.bits(codes[symbol]!, lengths[symbol]!);
    if (symbol < END) continue;
    if (length >= 15 && length - 15 < 255) writer.bytes([length - 15]);
    else if (length >= 15) writer.bytes([255, length & 0xff, length >> 8]);
    writer.bits(distance - 2 ** distanceBits, distanceBits);
  }
  writer.bits(codes[END]!, lengths[END]!);
  return writer.finish();
}

function tokensOf(source: Buffer): Token[] {
  const tokens: Token[] = [];
  const seen = new Map<number, number>();
  for (let at = 0; at < source.length;) {
    const key = at + 3 <= source.length ? source.readUIntLE(at, 3) : -1;
    const known = key < 0 ? undefined : seen.get(key);
    if (key >= 0) seen.set(key, at);
    if (known === undefined || at - known > REACH_MAX) {
      tokens.push({ symbol: source[at++]!, length: 0, distanceBits: 0, distance: 0 });
      continue;
    }
    let length = 3;
    while (length < LENGTH_MAX && source[at + length] === source[known + length]) {
      if (at + length >= source.length) break;
      length++;
    }
    const distance = at - known;
    const distanceBits = Math.floor(Math.log2(distance));
    const symbol = END + 16 * distanceBits + Math.min(15, length - 3);
    tokens.push({ symbol, length: length - 3, distanceBits, distance });
    at += length;
  }
  return tokens;
}

/** Two lengths that differ by one make any count of codes complete. */
function codeLengths(used: ReadonlySet<number>): number[] {
  const long = Math.ceil(Math.log2(used.size));
  let shortCount = 2 ** long - used.size;
  return Array.from({ length: SYMBOL_COUNT }, (_, symbol) => {
    if (!used.has(symbol)) return 0;
    return shortCount-- > 0 ? long - 1 : long;
  });
}

function canonicalCodes(lengths: readonly number[]): number[] {
  const codes: number[] = Array.from({ length: SYMBOL_COUNT }, () => 0);
  let code = 0;
  for (let length = 1; length <= 15; length++) {
    code *= 2;
    for (const [symbol, own] of lengths.entries()) if (own === length) codes[symbol] = code++;
  }
  return codes;
}

/** Two words are always open, into which bits go; bytes go behind them. */
class BitWriter {
  readonly #out: number[];
  #first = TABLE_BYTES;
  #second = TABLE_BYTES + 2;
  #free = 16;
  #word = 0;

  constructor(lengths: readonly number[]) {
    this.#out = Array.from(
      { length: TABLE_BYTES },
      (_, index) => lengths[2 * index]! | (lengths[2 * index + 1]! << 4),
    );
    this.#out.push(0, 0, 0, 0);
  }

  bits(value: number, count: number): void {
    for (let bit = count - 1; bit >= 0; bit--) {
      if (this.#free === 0) this.#nextWord();
      this.#word = (this.#word << 1) | ((value >> bit) & 1);
      this.#free--;
    }
  }

  bytes(values: readonly number[]): void {
    this.#out.push(...values);
  }

  finish(): Buffer {
    this.#word <<= this.#free;
    this.#put();
    return Buffer.from(this.#out);
  }

  #nextWord(): void {
    this.#put();
    this.#first = this.#second;
    this.#second = this.#out.length;
    this.#out.push(0, 0);
    this.#free = 16;
    this.#word = 0;
  }

  #put(): void {
    this.#out[this.#first] = this.#word & 0xff;
    this.#out[this.#first + 1] = (this.#word >> 8) & 0xff;
  }
}
