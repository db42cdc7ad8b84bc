/**
 * Which chunks are meant in each pack, as one number: an index object may say of a place in a pack that
 * another chunk lies there than does. Nobody can foresee the numbers, and so make others of their sum.
 */
import { digest, type Random } from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';

const NUMBER_SIZE_BYTES = 6;
const MODULUS = 2 ** (8 * NUMBER_SIZE_BYTES);

export class MeantIds {
  readonly #key: Buffer;
  /** By the name of the pack, in hexadecimal. */
  readonly #sums = new Map<string, number>();

  constructor(random: Random) {
    this.#key = random.bytes(32);
  }

  add(pack: string, id: ChunkId): void {
    this.#sums.set(pack, this.#plus(this.#sums.get(pack) ?? 0, id));
  }

  /** Whether these are the ids that were added of the pack. */
  readonly are = (pack: string, ids: readonly ChunkId[]): boolean =>
    ids.reduce((sum, id) => this.#plus(sum, id), 0) === (this.#sums.get(pack) ?? 0);

  #plus(sum: number, id: ChunkId): number {
    const number = digest(Buffer.concat([this.#key, id])).readUIntLE(0, NUMBER_SIZE_BYTES);
    return (sum + number) % MODULUS;
  }
}
