/**
 * NTFS, read-only. Written from the published descriptions of the format, and compared with what
 * ntfs-3g reads.
 *
 * Windows knows more of a file than this shows: owners and permissions are in the attribute
 * `system.ntfs_acl`, in the form of Windows; streams with a name are attributes `user.<name>` where
 * they have up to 64 KiB, and are not shown where they are larger. A volume that was not unmounted
 * is read as it is: its journal holds metadata only, and is not replayed.
 *
 * Invariant: a folder is given once, by its parent only, so that walks end.
 */
import { type CofferError, isCofferError, isFileName } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { readAttributes } from './attributes.ts';
import { damaged, Fields, unsupported } from './fields.ts';
import { FileTable, findStream, findValue } from './file-table.ts';
import { IndexTree } from './index-tree.ts';
import { contentOf, describe, type FileContent, namesOf, type NtfsNode } from './metadata.ts';
import { compareNames, decodeName, encodeName, parseFileName } from './name-codec.ts';
import { ATTRIBUTE, parseReference, type Reference } from './record-codec.ts';
import { Recent } from '../recent.ts';
import { SecurityDescriptors } from './security.ts';
import { readStream, readWhole } from './stream.ts';
import { readCompressedFile } from './system-compression.ts';
import { openVolume, type Volume } from './volume.ts';

const ROOT: Reference = { number: 5, sequence: 0 };
const VOLUME_RECORD = 3;
const UPPER_CASE_RECORD = 10;
const UPPER_CASE_BYTES = 128 * 1024;
/** Records below this are of the file system itself. */
const FIRST_USER_RECORD = 24;
/** Contents that are kept open, so that the next piece of a file is found at once. */
const OPEN_COUNT_MAX = 16;
const FOLDER_INDEX = '$I30';

export interface NtfsLabel {
  readonly label: string;
  /** As Windows and blkid show it: 16 hexadecimal digits. */
  readonly serial: string;
}

/** Fails with `file-system-unknown` when it is no NTFS, and with `file-system-damaged`. */
export async function openNtfs(disk: Disk): Promise<FileSystem> {
  const volume = await openVolume(disk);
  const table = await FileTable.open(volume);
  const security = await SecurityDescriptors.open(volume, table).catch((error: unknown) => {
    // A volume without its descriptors still has its files.
    if (isCofferError(error, 'file-system-damaged')) return undefined;
    throw error;
  });
  const root = await describeFile({ volume, table, security }, Buffer.alloc(0), ROOT);
  return new Ntfs({ volume, table, security }, root);
}

/** What the volume is called. */
export async function readNtfsLabel(disk: Disk): Promise<NtfsLabel> {
  const volume = await openVolume(disk);
  const table = await FileTable.open(volume);
  const file = await table.file({ number: VOLUME_RECORD, sequence: 0 });
  const name = findValue(file, ATTRIBUTE.volumeName);
  const serial = volume.geometry.serial.toString(16).toUpperCase().padStart(16, '0');
  return { label: name ? name.text(0, name.length) : '', serial };
}

interface Parts {
  readonly volume: Volume;
  readonly table: FileTable;
  readonly security: SecurityDescriptors | undefined;
}

class Ntfs implements FileSystem<NtfsNode> {
  readonly root: NtfsNode;
  readonly #parts: Parts;
  readonly #contents = new Recent<number, FileContent>(OPEN_COUNT_MAX);
  readonly #upperCase = new Recent<'table', Uint16Array>(1);

  constructor(parts: Parts, root: NtfsNode) {
    this.#parts = parts;
    this.root = root;
  }

  /** Gives all names that are whole, and fails in the end when one was not. */
  async *entries(folder: NtfsNode): AsyncIterable<NtfsNode> {
    let damage: CofferError | undefined;
    const folders = new Set<bigint>();
    for await (const { text, reference } of this.#names(folder)) {
      const name = encodeName(text);
      try {
        requireName(name, reference);
        const node = await this.#describe(name, reference, folder);
        if (node.type === 'directory') requireFirst(folders, node);
        yield node;
      } catch (error) {
        if (!isCofferError(error)) throw error;
        damage ??= error;
      }
    }
    if (damage) throw damage;
  }

  /** The name as it is written: case counts. */
  async find(folder: NtfsNode, name: Buffer): Promise<NtfsNode | undefined> {
    for await (const { text, reference } of this.#names(folder, decodeName(name))) {
      if (!encodeName(text).equals(name)) continue;
      requireName(name, reference);
      return await this.#describe(name, reference, folder);
    }
    return undefined;
  }

  async read(file: NtfsNode, offset: number, target: Uint8Array): Promise<number> {
    const { volume } = this.#parts;
    const { stream, compressed, reparse, isOffline } = await this.#content(file.reference);
    const { number } = file.reference;
    if (reparse?.kind === 'elsewhere') throw unsupported(reparse.reason, number);
    if (isOffline && reparse) throw unsupported('the content is not on this volume', number);
    if (reparse?.kind !== 'compressed') {
      return stream ? await readStream(volume, stream, offset, target) : 0;
    }
    if (!compressed) throw damaged(`file record ${number}`, 0, 'it has no compressed content');
    const { algorithm } = reparse;
    const content = { algorithm, sizeBytes: file.sizeBytes, stored: compressed };
    return await readCompressedFile(volume, content, offset, target);
  }

  async close(): Promise<void> {
    await this.#parts.volume.disk.close();
  }

  /** Names of a folder; where one is sought, those that differ by case at most. */
  async *#names(
    folder: NtfsNode,
    sought?: string,
  ): AsyncIterable<{ text: string; reference: Reference }> {
    const { volume, table } = this.#parts;
    const file = await table.file(folder.reference);
    const index = new IndexTree(volume, file, FOLDER_INDEX);
    const upperCase =
      sought === undefined
        ? undefined
        : await this.#upperCase.get('table', () => readUpperCase(this.#parts));
    const isRoot = folder.reference.number === ROOT.number;
    const entries = index.entries((key) =>
      sought === undefined || !upperCase
        ? 0
        : compareNames(parseFileName(key).text, sought, upperCase),
    );
    for await (const { fields, key } of entries) {
      const reference = parseReference(fields, 0);
      const { text, isShort } = parseFileName(key);
      const isHidden = isRoot && reference.number < FIRST_USER_RECORD;
      if (!isShort && !isHidden) yield { text, reference };
    }
  }

  /** Fails unless the file itself says that the folder has it. */
  async #describe(name: Buffer, reference: Reference, folder: NtfsNode): Promise<NtfsNode> {
    return await describeFile(this.#parts, name, reference, folder.reference);
  }

  #content(reference: Reference): Promise<FileContent> {
    const { volume, table } = this.#parts;
    return this.#contents.get(reference.number, async () =>
      contentOf(volume, await table.file(reference)),
    );
  }
}

async function describeFile(
  { volume, table, security }: Parts,
  name: Buffer,
  reference: Reference,
  folder?: Reference,
): Promise<NtfsNode> {
  const file = await table.file(reference);
  if (folder) {
    const names = namesOf(file);
    const isThere = names.some(({ parent }) => parent.number === folder.number);
    // A folder with two parents could be its own.
    if (!isThere || (file.isFolder && names.length > 1)) {
      const structure = `file record ${reference.number}`;
      throw damaged(structure, file.offset, `it is not in folder ${folder.number}`);
    }
  }
  const attributes = await readAttributes(volume, file, security);
  return describe(name, file, await contentOf(volume, file), attributes);
}

/** How the volume makes letters large, which is how it sorts names. */
async function readUpperCase({ volume, table }: Parts): Promise<Uint16Array> {
  const file = await table.file({ number: UPPER_CASE_RECORD, sequence: 0 });
  const stream = findStream(file, ATTRIBUTE.data);
  if (!stream) throw damaged(`file record ${UPPER_CASE_RECORD}`, file.offset, 'no content');
  const bytes = await readWhole(volume, stream, UPPER_CASE_BYTES);
  const fields = new Fields(bytes, 'upper case table', file.offset);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, index) => fields.u16(2 * index));
}

/** A folder of two names would be two folders, and their folders four. */
function requireFirst(folders: Set<bigint>, { inode }: NtfsNode): void {
  if (folders.has(inode)) throw damaged('index', Number(inode), `folder ${inode} has two names`);
  folders.add(inode);
}

/** Longer names than Linux has are given as they are: a folder of this host cannot hold them. */
function requireName(name: Buffer, { number }: Reference): void {
  const isName = isFileName(name.subarray(0, 255)) && !name.includes('/') && !name.includes(0);
  if (!isName) throw damaged('file name', number, 'it is no name');
}
