/**
 * Updates of the headers ([MS-VHDX] 2.2.2.1). The header that is not current is written and becomes
 * current, then the other one, so that either of them can be lost.
 */
import type { Random } from '@coffer/base';
import { unsupported } from './damage.ts';
import { randomGuid } from '../guid-codec.ts';
import { type CurrentHeader, encodeHeader, type Header, HEADER_OFFSETS } from './header-codec.ts';
import type { ImageFile } from './image-file.ts';

/** A sequence number beyond that was not reached by counting, and leaves no room for more. */
const SEQUENCE_NUMBER_MAX = 2n ** 63n;

export class HeaderWriter {
  readonly #file: ImageFile;
  readonly #random: Random;
  #current: CurrentHeader;
  #isFileWriteNew = false;
  #isDataWriteNew = false;

  /** Fails with `image-unsupported` when the header cannot be followed by another one. */
  constructor(path: string, file: ImageFile, current: CurrentHeader, random: Random) {
    if (current.header.sequenceNumber > SEQUENCE_NUMBER_MAX) {
      const place = { path, structure: 'header', offset: HEADER_OFFSETS[current.slot] };
      throw unsupported(place, `the sequence number ${current.header.sequenceNumber}`);
    }
    this.#file = file;
    this.#current = current;
    this.#random = random;
  }

  get header(): Header {
    return this.#current.header;
  }

  /** Precedes each change of the file: gives it a new identity, once. */
  async beginFileWrite(): Promise<void> {
    if (this.#isFileWriteNew) return;
    await this.#update({ fileWriteGuid: randomGuid(this.#random) });
    this.#isFileWriteNew = true;
  }

  /** Precedes each change of what the disk holds: gives that a new identity, once. */
  async beginDataWrite(): Promise<void> {
    if (this.#isDataWriteNew) return;
    const dataWriteGuid = randomGuid(this.#random);
    await this.#update({ dataWriteGuid, fileWriteGuid: randomGuid(this.#random) });
    this.#isFileWriteNew = true;
    this.#isDataWriteNew = true;
  }

  async setLogGuid(logGuid: string): Promise<void> {
    await this.beginFileWrite();
    await this.#update({ logGuid });
  }

  async #update(changes: Partial<Header>): Promise<void> {
    await this.#writeNext(changes);
    await this.#writeNext({});
  }

  async #writeNext(changes: Partial<Header>): Promise<void> {
    const { header, slot } = this.#current;
    const sequenceNumber = header.sequenceNumber + 1n;
    const next: CurrentHeader = {
      header: { ...header, ...changes, sequenceNumber },
      slot: slot === 0 ? 1 : 0,
    };
    await this.#file.write(HEADER_OFFSETS[next.slot], encodeHeader(next.header));
    await this.#file.flush();
    this.#current = next;
  }
}
