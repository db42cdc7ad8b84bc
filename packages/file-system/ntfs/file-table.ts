/**
 * The master file table: all that is said of a file, which one record may not hold. The table is a
 * file of itself, and its first record says where the others are.
 */
import { isCofferError } from '@coffer/base';
import { damaged, Fields } from './fields.ts';
import {
  type Attribute,
  ATTRIBUTE,
  type FileRecord,
  parseRecord,
  parseReference,
  type Reference,
} from './record-codec.ts';
import { readStream, readWhole, type Stream, streamOf } from './stream.ts';
import { readAt, type Volume } from './volume.ts';

/** A file or a folder: its attributes from all of its records, as streams. */
export interface TableFile {
  readonly reference: Reference;
  readonly isFolder: boolean;
  readonly streams: readonly Stream[];
  readonly offset: number;
}

/** What Windows allows. */
const ATTRIBUTE_LIST_BYTES_MAX = 256 * 1024;
const LIST_ENTRY_BYTES_MIN = 26;
/** Records that have a copy. */
const MIRRORED_COUNT = 4;

export class FileTable {
  readonly #volume: Volume;
  #table: Stream;

  private constructor(volume: Volume, table: Stream) {
    this.#volume = volume;
    this.#table = table;
  }

  static async open(volume: Volume): Promise<FileTable> {
    const { clusterBytes, recordBytes, mftCluster } = volume.geometry;
    const offset = mftCluster * clusterBytes;
    const first = await readAt(volume.disk, offset, recordBytes, 'file record 0')
      .then((bytes) => parseRecord(bytes, 0, offset))
      .catch((error: unknown) => readMirrored(volume, 0, error));
    const parts = first.attributes.filter(({ type, name }) => isTable(type, name));
    if (parts.length === 0) throw damaged('file record 0', offset, 'it maps no file table');
    // What the first record maps is enough to read the records that map the rest.
    const table = new FileTable(volume, streamOf(volume, parts, offset));
    const whole = await table.file({ number: 0, sequence: first.reference.sequence });
    table.#table = findStream(whole, ATTRIBUTE.data) ?? table.#table;
    return table;
  }

  /**
   * Fails with `file-system-damaged` when the record is no longer, or not yet, that of the file; a
   * sequence of 0 fits all.
   */
  async file({ number, sequence }: Reference): Promise<TableFile> {
    const record = await this.#record(number);
    const { reference, base, isInUse, isFolder, offset } = record;
    const structure = `file record ${number}`;
    if (!isInUse) throw damaged(structure, offset, 'it is not in use');
    // Records that extend record 0 name its sequence, which is 1.
    const isExtension = base.number !== 0 || base.sequence !== 0;
    if (isExtension) throw damaged(structure, offset, `it extends ${base.number}`);
    if (sequence !== 0 && sequence !== reference.sequence) {
      throw damaged(structure, offset, `its sequence is ${reference.sequence}, not ${sequence}`);
    }
    const attributes = [...record.attributes];
    for (const extension of await this.#extensions(record)) {
      attributes.push(...extension.attributes);
    }
    return { reference, isFolder, offset, streams: joinParts(this.#volume, attributes, offset) };
  }

  async #record(number: number): Promise<FileRecord> {
    const { recordBytes } = this.#volume.geometry;
    const offset = number * recordBytes;
    const bytes = Buffer.allocUnsafe(recordBytes);
    try {
      const count = await readStream(this.#volume, this.#table, offset, bytes);
      if (count < recordBytes) throw damaged('file table', offset, `it has no record ${number}`);
      return parseRecord(bytes, number, offset);
    } catch (error) {
      return await readMirrored(this.#volume, number, error);
    }
  }

  /** The records that the list of attributes names, each once. */
  async #extensions(record: FileRecord): Promise<FileRecord[]> {
    const list = record.attributes.find(({ type }) => type === ATTRIBUTE.attributeList);
    if (!list) return [];
    const stream = streamOf(this.#volume, [list], record.offset);
    const bytes = await readWhole(this.#volume, stream, ATTRIBUTE_LIST_BYTES_MAX);
    const found: FileRecord[] = [];
    const names = new Fields(bytes, `attribute list of ${record.reference.number}`, record.offset);
    for (const { number, sequence } of parseAttributeList(names)) {
      if (number === record.reference.number) continue;
      const extension = await this.#record(number);
      const isOfFile =
        extension.isInUse &&
        extension.base.number === record.reference.number &&
        extension.reference.sequence === sequence;
      if (!isOfFile) throw names.damaged(`record ${number} is not of this file`);
      found.push(extension);
    }
    return found;
  }
}

/** The records that a list names, in its order. */
function parseAttributeList(list: Fields): Reference[] {
  const found = new Map<number, Reference>();
  for (let at = 0; at < list.length;) {
    const length = list.u16(at + 4);
    if (length < LIST_ENTRY_BYTES_MIN) throw list.damaged(`an entry of ${length} bytes at ${at}`);
    const reference = parseReference(list, at + 16);
    found.set(reference.number, reference);
    at += length;
  }
  return [...found.values()];
}

/** Attributes with clusters are streams whose parts are joined; others stand for themselves. */
function joinParts(volume: Volume, attributes: readonly Attribute[], offset: number): Stream[] {
  const parts = new Map<string, Attribute[]>();
  const streams: Stream[] = [];
  for (const attribute of attributes) {
    if ('value' in attribute.content) {
      streams.push(streamOf(volume, [attribute], offset));
      continue;
    }
    const key = `${attribute.type}:${attribute.name}`;
    const known = parts.get(key);
    if (known) known.push(attribute);
    else parts.set(key, [attribute]);
  }
  for (const some of parts.values()) {
    some.sort((a, b) => startOf(a) - startOf(b));
    streams.push(streamOf(volume, some, offset));
  }
  return streams;
}

function startOf({ content }: Attribute): number {
  return 'mapped' in content ? content.mapped.startCluster : 0;
}

function isTable(type: number, name: string): boolean {
  return type === ATTRIBUTE.data && name === '';
}

export function findStream(file: TableFile, type: number, name = ''): Stream | undefined {
  return file.streams.find((stream) => stream.type === type && stream.name === name);
}

/** The bytes of an attribute that is always in a record; undefined when there is none. */
export function findValue(file: TableFile, type: number, name = ''): Fields | undefined {
  const stream = findStream(file, type, name);
  if (!stream || !('value' in stream.content)) return undefined;
  return new Fields(stream.content.value, `attribute ${type} of a file`, file.offset);
}

/** The first records have a copy, which helps when they are damaged. */
async function readMirrored(volume: Volume, number: number, error: unknown): Promise<FileRecord> {
  if (number >= MIRRORED_COUNT || !isCofferError(error, 'file-system-damaged')) throw error;
  const { clusterBytes, recordBytes, mirrorCluster } = volume.geometry;
  const offset = mirrorCluster * clusterBytes + number * recordBytes;
  const bytes = await readAt(volume.disk, offset, recordBytes, 'copy of the file table');
  return parseRecord(bytes, number, offset);
}
