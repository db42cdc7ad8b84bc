/**
 * The log as it is written ([MS-VHDX] 2.3): changes of metadata become durable in it before they are
 * made in their place.
 *
 * Invariant: from the first commit until the log is cleared, the log holds an entry that is whole, and
 * the current header names it. Entries are written to the halves of the log in turn, so that a torn
 * entry leaves the one before as it was. Each entry is a sequence of its own: when it is written, what
 * the entry before says is durable in its place, and replaying that once more changes nothing.
 */
import { assert, type Random } from '@coffer/base';
import { unsupported } from './damage.ts';
import { randomGuid, ZERO_GUID } from '../guid-codec.ts';
import type { HeaderWriter } from './header-writer.ts';
import type { ImageFile } from './image-file.ts';
import { encodeLogEntry, ENTRY_UPDATES_MAX } from './log-entry-codec.ts';
import type { ChangedSector } from './metadata-sectors.ts';
import { ALIGNMENT_BYTES } from './sizes.ts';

export class MetadataLog {
  readonly #file: ImageFile;
  readonly #headers: HeaderWriter;
  readonly #logGuid: string;
  #half: 0 | 1 = 0;
  #sequenceNumber = 1n;

  /** Fails with `image-unsupported` when the image has no log. */
  constructor(path: string, file: ImageFile, headers: HeaderWriter, random: Random) {
    const { logOffset, logLength } = headers.header;
    const place = { path, structure: 'log', offset: logOffset };
    if (logLength === 0) throw unsupported(place, 'there is no log to write to');
    this.#file = file;
    this.#headers = headers;
    this.#logGuid = randomGuid(random);
  }

  /**
   * Changes the sectors in the order given. When it fails, or the machine does, those before some
   * point of the order are changed and the others are not. The file does not grow meanwhile, and what
   * the sectors refer to is durable.
   */
  async commit(sectors: readonly ChangedSector[]): Promise<void> {
    for (let first = 0; first < sectors.length; first += ENTRY_UPDATES_MAX) {
      await this.#commitOnce(sectors.slice(first, first + ENTRY_UPDATES_MAX));
    }
  }

  /** Says that there is nothing to replay. */
  async clear(): Promise<void> {
    if (this.#headers.header.logGuid !== ZERO_GUID) await this.#headers.setLogGuid(ZERO_GUID);
  }

  async #commitOnce(sectors: readonly ChangedSector[]): Promise<void> {
    await this.#writeEntry(sectors);
    if (this.#headers.header.logGuid !== this.#logGuid) {
      await this.#headers.setLogGuid(this.#logGuid);
    }
    for (const { fileOffset, bytes } of sectors) await this.#file.write(fileOffset, bytes);
    await this.#file.flush();
  }

  async #writeEntry(sectors: readonly ChangedSector[]): Promise<void> {
    const { logOffset, logLength } = this.#headers.header;
    assert(this.#file.sizeBytes % ALIGNMENT_BYTES === 0, 'a file with changes ends at a whole MiB');
    const tail = this.#half === 0 ? 0 : logLength / 2;
    const entry = encodeLogEntry(
      {
        tail,
        sequenceNumber: this.#sequenceNumber++,
        logGuid: this.#logGuid,
        flushedFileOffset: this.#file.sizeBytes,
        lastFileOffset: this.#file.sizeBytes,
      },
      sectors,
    );
    await this.#file.write(logOffset + tail, entry);
    await this.#file.flush();
    this.#half = this.#half === 0 ? 1 : 0;
  }
}
