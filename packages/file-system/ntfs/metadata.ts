/** What Linux shows of a file of Windows. */
import type { ExtendedAttribute, FileMetadata, FileType } from '@coffer/base';
import { Fields } from './fields.ts';
import { findStream, findValue, type TableFile } from './file-table.ts';
import { parseFileName } from './name-codec.ts';
import { ATTRIBUTE, type Reference } from './record-codec.ts';
import { parseReparse, type Reparse } from './reparse-codec.ts';
import { readWhole, type Stream } from './stream.ts';
import { COMPRESSED_CONTENT } from './system-compression.ts';
import type { Volume } from './volume.ts';

export interface NtfsNode extends FileMetadata {
  readonly reference: Reference;
}

/** How the content of a file is to be read. */
export interface FileContent {
  readonly stream: Stream | undefined;
  /** Holds it in the place of `stream`, where Windows compressed the file as a whole. */
  readonly compressed: Stream | undefined;
  readonly reparse: Reparse | undefined;
  /** Windows would have to fetch it first. */
  readonly isOffline: boolean;
}

const READ_ONLY = 0x1;
const SYSTEM = 0x4;
const OFFLINE = 0x1000;
const RECALL_ON_OPEN = 0x4_0000;
const RECALL_ON_DATA_ACCESS = 0x40_0000;
/** 1601 to 1970, in units of 100 ns. */
const EPOCH = 116_444_736_000_000_000n;
const TIME_NS_MAX = 2n ** 63n - 1n;
const REPARSE_BYTES_MAX = 16 * 1024;
/** How Interix, and so ntfs-3g, writes symbolic links: a mark, then the target in UTF-16. */
const INTERIX_LINK = Buffer.from('IntxLNK\x01', 'latin1');
const INTERIX_BYTES_MAX = 16 * 1024;

export async function contentOf(volume: Volume, file: TableFile): Promise<FileContent> {
  const { flags } = standardOf(file);
  const point = findStream(file, ATTRIBUTE.reparsePoint);
  return {
    stream: findStream(file, ATTRIBUTE.data),
    compressed: findStream(file, ATTRIBUTE.data, COMPRESSED_CONTENT),
    reparse: point
      ? parseReparse(await fieldsOf(volume, point, 'reparse point', REPARSE_BYTES_MAX))
      : await interixLink(volume, file, flags),
    isOffline: (flags & (OFFLINE | RECALL_ON_OPEN | RECALL_ON_DATA_ACCESS)) !== 0,
  };
}

export function describe(
  name: Buffer,
  file: TableFile,
  content: FileContent,
  extendedAttributes: readonly ExtendedAttribute[],
): NtfsNode {
  const { flags, modified, changed } = standardOf(file);
  const type = typeOf(file, content.reparse);
  const inode = BigInt(file.reference.number);
  const isShared = type !== 'directory' && namesOf(file).length > 1;
  return {
    name,
    type,
    mode: modeOf(type, (flags & READ_ONLY) !== 0),
    userId: 0,
    groupId: 0,
    modifiedNs: timeNs(modified),
    changedNs: timeNs(changed),
    inode,
    sizeBytes: type === 'file' ? (content.stream?.sizeBytes ?? 0) : 0,
    hardLink: isShared ? { device: 0n, inode } : undefined,
    linkTarget: content.reparse?.kind === 'link' ? Buffer.from(content.reparse.target) : undefined,
    deviceNumber: undefined,
    extendedAttributes,
    reference: file.reference,
  };
}

/** Names without those of 8.3 characters, which only repeat another. */
export function namesOf(file: TableFile): { readonly parent: Reference; readonly text: string }[] {
  return file.streams.flatMap((stream) => {
    if (stream.type !== ATTRIBUTE.fileName || !('value' in stream.content)) return [];
    const name = parseFileName(new Fields(stream.content.value, 'file name', file.offset));
    return name.isShort ? [] : [name];
  });
}

function typeOf({ isFolder }: TableFile, reparse: Reparse | undefined): FileType {
  if (reparse?.kind === 'link') return 'symlink';
  if (reparse?.kind === 'special') return reparse.type;
  return isFolder ? 'directory' : 'file';
}

function modeOf(type: FileType, isReadOnly: boolean): number {
  if (type === 'symlink') return 0o777;
  const mode = type === 'directory' ? 0o755 : 0o644;
  return isReadOnly ? mode & 0o555 : mode;
}

function standardOf(file: TableFile): { flags: number; modified: bigint; changed: bigint } {
  const fields = findValue(file, ATTRIBUTE.standardInformation);
  if (!fields) return { flags: 0, modified: EPOCH, changed: EPOCH };
  return { flags: fields.u32(32), modified: fields.u64(8), changed: fields.u64(16) };
}

/** Times that do not fit into what is stored are those of a damaged or hostile volume. */
function timeNs(time: bigint): bigint {
  const ns = (time - EPOCH) * 100n;
  return ns > TIME_NS_MAX ? TIME_NS_MAX : ns;
}

async function interixLink(
  volume: Volume,
  file: TableFile,
  flags: number,
): Promise<Reparse | undefined> {
  const stream = findStream(file, ATTRIBUTE.data);
  if (!stream || (flags & SYSTEM) === 0 || file.isFolder || stream.isEncrypted) return undefined;
  if (stream.sizeBytes <= INTERIX_LINK.length || stream.sizeBytes > INTERIX_BYTES_MAX) {
    return undefined;
  }
  const { bytes } = await fieldsOf(volume, stream, 'link', INTERIX_BYTES_MAX);
  if (!bytes.subarray(0, INTERIX_LINK.length).equals(INTERIX_LINK)) return undefined;
  const target = bytes.toString('utf16le', INTERIX_LINK.length);
  return target === '' || target.includes('\0') ? undefined : { kind: 'link', target };
}

async function fieldsOf(
  volume: Volume,
  stream: Stream,
  structure: string,
  sizeBytesMax: number,
): Promise<Fields> {
  return new Fields(await readWhole(volume, stream, sizeBytesMax), structure, stream.offset);
}
