/** Security descriptors: files name them by number, and the file $Secure holds each of them once. */
import { ATTRIBUTE } from './record-codec.ts';
import { type FileTable, findStream } from './file-table.ts';
import { IndexTree } from './index-tree.ts';
import { Recent } from '../recent.ts';
import { readStream, type Stream } from './stream.ts';
import type { Volume } from './volume.ts';
import { damaged, Fields } from './fields.ts';

const SECURE_RECORD = 9;
const DESCRIPTOR_BYTES_MAX = 64 * 1024;
const ENTRY_HEADER_BYTES = 20;
/** Most volumes have some hundred different ones; this is what is kept in memory. */
const KEPT_COUNT_MAX = 512;

export class SecurityDescriptors {
  readonly #volume: Volume;
  readonly #index: IndexTree;
  readonly #descriptors: Stream;
  readonly #kept = new Recent<number, Buffer | undefined>(KEPT_COUNT_MAX);

  private constructor(volume: Volume, index: IndexTree, descriptors: Stream) {
    this.#volume = volume;
    this.#index = index;
    this.#descriptors = descriptors;
  }

  static async open(volume: Volume, table: FileTable): Promise<SecurityDescriptors> {
    const file = await table.file({ number: SECURE_RECORD, sequence: 0 });
    const descriptors = findStream(file, ATTRIBUTE.data, '$SDS');
    if (!descriptors) throw damaged(`file record ${SECURE_RECORD}`, file.offset, 'no stream $SDS');
    return new SecurityDescriptors(volume, new IndexTree(volume, file, '$SII'), descriptors);
  }

  /** Undefined when there is none with that number. */
  find(id: number): Promise<Buffer | undefined> {
    return this.#kept.get(id, () => this.#find(id));
  }

  async #find(id: number): Promise<Buffer | undefined> {
    for await (const { fields } of this.#index.entries((key) => key.u32(0) - id)) {
      // Hash and number of the descriptor, then where it is, and its length with that header.
      const place = fields.part(fields.u16(0), ENTRY_HEADER_BYTES);
      const length = place.u32(16) - ENTRY_HEADER_BYTES;
      if (length <= 0 || length > DESCRIPTOR_BYTES_MAX) {
        throw place.damaged(`a descriptor of ${length} bytes`);
      }
      return await this.#read(place.size64(8), length, id);
    }
    return undefined;
  }

  async #read(offset: number, length: number, id: number): Promise<Buffer> {
    const bytes = Buffer.alloc(ENTRY_HEADER_BYTES + length);
    const count = await readStream(this.#volume, this.#descriptors, offset, bytes);
    const entry = new Fields(bytes.subarray(0, count), 'security descriptor', offset);
    if (entry.u32(4) !== id) throw entry.damaged(`it is number ${entry.u32(4)}, not ${id}`);
    return entry.part(ENTRY_HEADER_BYTES, length).bytes;
  }
}
