/**
 * What an entry of a folder can hold. Who writes and who reads ask the same question, so that what was
 * written can be read. FORMAT.md, section 11.3.
 */
import {
  type ExtendedAttribute,
  type FileContent,
  type FileEntry,
  type FileMetadata,
  isFileName,
} from '@coffer/base';
import { PIECES_INLINE_MAX } from './content-tree.ts';

export const LINK_TARGET_SIZE_MAX = 65_535;
export const ATTRIBUTE_NAME_SIZE_MAX = 255;
export const ATTRIBUTE_VALUE_SIZE_MAX = 64 * 1024;
/** Names and values of one entry together: its page has to fit into a node. */
const ATTRIBUTES_SIZE_MAX = 4 * 1024 * 1024;

const MODE_MAX = 0o7777;
const ID_MAX = 2 ** 32 - 1;
const SECOND_NS = 1_000_000_000n;

/** What the format cannot hold of a file or its metadata; undefined when it can hold all of it. */
export function unstorable(metadata: FileMetadata): string | undefined {
  const { name, mode, userId, groupId, sizeBytes, linkTarget } = metadata;
  if (!isFileName(name)) return 'a name that no folder can have';
  if (!isWithin(mode, MODE_MAX)) return 'an impossible mode';
  if (!isWithin(userId, ID_MAX) || !isWithin(groupId, ID_MAX)) return 'an impossible owner';
  if (!isWithin(sizeBytes, Number.MAX_SAFE_INTEGER)) return 'a file that is too large';
  if (!isTime(metadata.modifiedNs) || !isTime(metadata.changedNs)) return 'an impossible time';
  if (linkTarget && linkTarget.length > LINK_TARGET_SIZE_MAX) return 'a link that is too long';
  if (!areNumbers(metadata)) return 'an impossible number of an inode or device';
  return unstorableAttributes(metadata.extendedAttributes);
}

/** The same of attributes, which are in the order of their names. */
function unstorableAttributes(attributes: readonly ExtendedAttribute[]): string | undefined {
  let sizeBytes = 0;
  for (const [index, { name, value }] of attributes.entries()) {
    const before = attributes[index - 1];
    if (before && Buffer.compare(before.name, name) >= 0) return 'attributes in disorder';
    if (!isStorableAttribute({ name, value })) return 'an attribute that is too long';
    sizeBytes += name.length + value.length;
  }
  return sizeBytes > ATTRIBUTES_SIZE_MAX ? 'too many attributes' : undefined;
}

/** Those that an entry can hold, and how many it cannot. */
export function storableAttributes(attributes: readonly ExtendedAttribute[]): {
  readonly kept: readonly ExtendedAttribute[];
  readonly leftOut: number;
} {
  let sizeBytes = 0;
  const kept = attributes.filter((attribute) => {
    const size = attribute.name.length + attribute.value.length;
    const fits = isStorableAttribute(attribute) && sizeBytes + size <= ATTRIBUTES_SIZE_MAX;
    if (fits) sizeBytes += size;
    return fits;
  });
  return { kept, leftOut: attributes.length - kept.length };
}

function isStorableAttribute({ name, value }: ExtendedAttribute): boolean {
  return (
    name.length > 0 &&
    name.length <= ATTRIBUTE_NAME_SIZE_MAX &&
    value.length <= ATTRIBUTE_VALUE_SIZE_MAX
  );
}

/** The same of an entry as a whole: each type has what belongs to it, and nothing else. */
export function unstorableEntry(entry: FileEntry): string | undefined {
  const { type, content, folder, linkTarget, deviceNumber } = entry;
  const isDevice = type === 'character-device' || type === 'block-device';
  const has = {
    content: type === 'file',
    folder: type === 'directory',
    linkTarget: type === 'symlink',
    deviceNumber: isDevice,
  };
  const fits =
    has.content === (content !== undefined) &&
    has.folder === (folder !== undefined) &&
    has.linkTarget === (linkTarget !== undefined) &&
    has.deviceNumber === (deviceNumber !== undefined) &&
    (has.content || entry.sizeBytes === 0);
  if (!fits) return 'what does not belong to its type';
  return unstorable(entry) ?? (content && unstorableContent(content));
}

function unstorableContent(content: FileContent): string | undefined {
  if (content.form === 'tree') return undefined;
  const { pieces } = content;
  if (pieces.length > PIECES_INLINE_MAX) return 'too many pieces';
  const areLengths = pieces.every(({ length }) => isWithin(length, Number.MAX_SAFE_INTEGER));
  return areLengths ? undefined : 'a piece of an impossible length';
}

function isWithin(value: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= max;
}

function isTime(timeNs: bigint): boolean {
  const { seconds } = splitTime(timeNs);
  return seconds === BigInt.asIntN(64, seconds);
}

function areNumbers({ inode, hardLink, deviceNumber = 0n }: FileMetadata): boolean {
  const numbers = [inode, deviceNumber, ...(hardLink ? [hardLink.device, hardLink.inode] : [])];
  return numbers.every((each) => each === BigInt.asUintN(64, each));
}

/** Whole seconds since 1970, and the nanoseconds after them. */
export function splitTime(timeNs: bigint): { readonly seconds: bigint; readonly ns: number } {
  const ns = ((timeNs % SECOND_NS) + SECOND_NS) % SECOND_NS;
  return { seconds: (timeNs - ns) / SECOND_NS, ns: Number(ns) };
}
