/**
 * Keys of packs, opened from their boxes by who holds the private key: this process, or another party
 * that this one asks, with few calls for many boxes. What was opened is remembered.
 */
import { CofferError } from '@coffer/base';
import type { RepositoryKeys } from '../keys.ts';
import { KEY_BOX_PURPOSE, PACK_KEY_SIZE_BYTES } from '../pack/pack-codec.ts';
import { openBox } from '../sealed-box.ts';
import { PackKeys } from './engine.ts';

/**
 * What comes of a box: the key of the pack (32 bytes), or that it was not sealed to the private key,
 * or that whoever holds that does not open it for us.
 */
export type BoxOutcome = Buffer | 'damaged' | 'refused';

/**
 * Asks another party to open boxes; outcomes are in the order of the boxes. What it fails with is
 * thrown to who reads, and the boxes are asked for again when they are needed again.
 */
export type OpenBoxes = (boxes: readonly Buffer[]) => Promise<readonly BoxOutcome[]>;

/** Opens the key box of a pack. */
export interface BoxKeys {
  /** Fails with `object-damaged` for a foreign box, or `key-refused`. */
  open(box: Buffer): Promise<Buffer>;
}

/** For the party that holds the private key. */
export function boxOpener({ privateKey }: Pick<RepositoryKeys, 'privateKey'>): OpenBoxes {
  return async (boxes) => boxes.map((box) => outcomeOf(privateKey, box));
}

function outcomeOf(privateKey: Buffer, box: Buffer): BoxOutcome {
  try {
    return openBox(privateKey, box, KEY_BOX_PURPOSE);
  } catch (error) {
    if (error instanceof CofferError) return 'damaged';
    throw error;
  }
}

/** With the private key at hand. */
export function ownBoxKeys(privateKey: Buffer): BoxKeys {
  const keys = new PackKeys(privateKey);
  return { open: async (box) => keys.open(box) };
}

/** Of one call; a window of a restore needs fewer. */
export const BOXES_AT_ONCE = 256;
/** Outcomes kept at hand. */
const BOXES_CACHED_MAX = 16_384;

interface Waiting {
  readonly box: Buffer;
  readonly resolve: (key: Buffer) => void;
  readonly reject: (error: unknown) => void;
}

/** Through another party. Boxes that are needed at about the same time are asked for together. */
export class EntrustedBoxKeys implements BoxKeys {
  readonly #openBoxes: OpenBoxes;
  readonly #known = new Map<string, Promise<Buffer>>();
  #waiting: Waiting[] = [];

  constructor(openBoxes: OpenBoxes) {
    this.#openBoxes = openBoxes;
  }

  async open(box: Buffer): Promise<Buffer> {
    const name = box.toString('latin1');
    const known = this.#known.get(name);
    if (known) return await known;
    const opened = this.#ask(box);
    if (this.#known.size >= BOXES_CACHED_MAX) this.#known.clear();
    this.#known.set(name, opened);
    try {
      return await opened;
    } catch (error) {
      // A foreign box stays foreign; all else may pass.
      const isFinal = error instanceof CofferError && error.code === 'object-damaged';
      if (!isFinal && this.#known.get(name) === opened) this.#known.delete(name);
      throw error;
    }
  }

  async #ask(box: Buffer): Promise<Buffer> {
    return await new Promise((resolve, reject) => {
      // After all that is ready to run has said what it needs.
      if (this.#waiting.length === 0) setImmediate(() => this.#askAll());
      this.#waiting.push({ box, resolve, reject });
    });
  }

  #askAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let start = 0; start < waiting.length; start += BOXES_AT_ONCE) {
      void this.#askFor(waiting.slice(start, start + BOXES_AT_ONCE));
    }
  }

  async #askFor(waiting: readonly Waiting[]): Promise<void> {
    try {
      const outcomes = await this.#openBoxes(waiting.map(({ box }) => box));
      waiting.forEach(({ resolve, reject }, index) => {
        const outcome = outcomes[index];
        if (isKey(outcome)) resolve(outcome);
        else reject(failureOf(outcome));
      });
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}

function isKey(outcome: BoxOutcome | undefined): outcome is Buffer {
  return Buffer.isBuffer(outcome) && outcome.length === PACK_KEY_SIZE_BYTES;
}

function failureOf(outcome: BoxOutcome | undefined): CofferError {
  if (outcome === 'refused') return new CofferError('key-refused');
  const reason = outcome === 'damaged' ? undefined : 'what came back is no key';
  return new CofferError('object-damaged', { what: 'box', reason });
}
