/**
 * Metadata of what is restored. A target may refuse each part of it, or take it and not keep it: the
 * content stays all the same, and what is missing is told.
 */
import { chmodSync, closeSync, fchmodSync, fchownSync } from 'node:fs';
import type { FileMetadata } from '@coffer/base';
import {
  type FileStats,
  type NameIn,
  OPEN_NAME,
  setModifiedOf,
  setModifiedOfNamed,
  setOwnerOfNamed,
  statOf,
} from '@coffer/base/folder-calls.ts';
import {
  removeAttributeOfFile,
  removeAttributeOfNamed,
  setAttributeOfFile,
  setAttributeOfNamed,
} from '@coffer/base/libc.ts';
import { openJustMade } from './just-made.ts';

/** What is restored of a folder itself. */
export type FolderMetadata = Pick<
  FileMetadata,
  'mode' | 'userId' | 'groupId' | 'modifiedNs' | 'extendedAttributes'
>;

/** What of a file a target may not be able to keep. */
export type Property = 'owner' | 'attribute' | 'mode' | 'time';

/** Told of each part of the metadata that could not be restored. */
export type OnRefused = (what: Property, error: unknown) => void;

/** Asked each time: a process may give up what it began with. */
const isRoot = (): boolean => process.getuid?.() === 0;

/** Calls that change one file, whatever way it is named. */
interface Changes {
  readonly setOwner: () => void;
  /** Undefined where nothing was inherited. */
  readonly removeAttribute: ((name: Buffer) => void) | undefined;
  readonly setAttribute: (name: Buffer, value: Buffer) => void;
  /** Undefined where nothing has a mode of its own: a link. */
  readonly setMode: ((mode: number) => void) | undefined;
  readonly setTime: () => void;
  readonly stats: () => FileStats;
}

/** Of a file or folder that is open; `inherits` says that it may have attributes of its folder. */
export function setMetadataOfFile(
  fd: number,
  metadata: FolderMetadata,
  onRefused: OnRefused,
  { inherits = true } = {},
): void {
  const { userId, groupId, modifiedNs } = metadata;
  const changes: Changes = {
    setOwner: () => fchownSync(fd, userId, groupId),
    removeAttribute: inherits ? (name) => removeAttributeOfFile(fd, name) : undefined,
    setAttribute: (name, value) => setAttributeOfFile(fd, name, value),
    setMode: (mode) => fchmodSync(fd, mode),
    setTime: () => setModifiedOf(fd, modifiedNs),
    stats: () => statOf(fd),
  };
  applyMetadata(changes, metadata, onRefused);
}

/**
 * Of a link or a node that was just made, which must not be opened. Fails with `ESTALE` when something
 * else took the name.
 */
export function setMetadataOfMade(at: NameIn, metadata: FileMetadata, onRefused: OnRefused): void {
  const { type, userId, groupId, modifiedNs } = metadata;
  const fd = openJustMade(at, type, OPEN_NAME);
  try {
    const changes: Changes = {
      setOwner: () => setOwnerOfNamed(fd, userId, groupId),
      removeAttribute: (name) => removeAttributeOfNamed(fd, name),
      setAttribute: (name, value) => setAttributeOfNamed(fd, name, value),
      setMode: type === 'symlink' ? undefined : (mode) => chmodSync(`/proc/self/fd/${fd}`, mode),
      setTime: () => setModifiedOfNamed(fd, modifiedNs),
      stats: () => statOf(fd),
    };
    applyMetadata(changes, metadata, onRefused);
  } finally {
    closeSync(fd);
  }
}

/**
 * Owner first, since changing it clears bits of the mode; then what needs the right to write, which
 * the mode may take away; time last, since all else changes it.
 */
function applyMetadata(changes: Changes, metadata: FolderMetadata, onRefused: OnRefused): void {
  const refused = new Map<Property, unknown>();
  const attempt = (what: Property, change: () => void): void => {
    try {
      change();
    } catch (error) {
      if (!refused.has(what)) refused.set(what, error);
    }
  };
  if (isRoot()) attempt('owner', changes.setOwner);
  for (const name of INHERITED_ATTRIBUTES) {
    if (!hasAttribute(metadata, name)) changes.removeAttribute?.(name);
  }
  for (const { name, value } of metadata.extendedAttributes) {
    attempt('attribute', () => changes.setAttribute(name, value));
  }
  const mode = modeFor(metadata, changes);
  if (changes.setMode) attempt('mode', () => changes.setMode?.(mode));
  attempt('time', changes.setTime);
  const kept = changes.stats();
  const isKept: Record<Property, boolean> = {
    owner: kept.userId === metadata.userId && kept.groupId === metadata.groupId,
    attribute: !refused.has('attribute'),
    mode: !changes.setMode || kept.mode === mode,
    time: isSameTime(kept.modifiedNs, metadata.modifiedNs),
  };
  for (const what of PROPERTIES) {
    if (!isKept[what]) onRefused(what, refused.get(what) ?? new Error(notKept(what)));
  }
}

const PROPERTIES: readonly Property[] = ['owner', 'attribute', 'mode', 'time'];

/** Why a thing is not as it should be though no call has failed. */
function notKept(what: Property): string {
  if (what === 'owner' && !isRoot()) return 'only root can restore another owner';
  return NOT_KEPT[what];
}

const NOT_KEPT: Readonly<Record<Property, string>> = {
  owner: 'the target keeps no owners',
  attribute: 'the target keeps no attributes',
  mode: 'the target keeps no such permissions',
  time: 'the target keeps no such times',
};

/** A new file has them of its folder, and they would let others in. */
export const INHERITED_ATTRIBUTES: readonly Buffer[] = [
  'system.posix_acl_access',
  'system.posix_acl_default',
].map((name) => Buffer.from(name));

function hasAttribute({ extendedAttributes }: FolderMetadata, wanted: Buffer): boolean {
  return extendedAttributes.some(({ name }) => name.equals(wanted));
}

const SET_ID_BITS = 0o6000;

/** A program that runs as its owner must not run as somebody else. */
function modeFor({ mode, userId, groupId }: FolderMetadata, { stats }: Changes): number {
  if ((mode & SET_ID_BITS) === 0) return mode;
  const now = stats();
  const isOwned = now.userId === userId && now.groupId === groupId;
  return isOwned ? mode : mode & ~SET_ID_BITS;
}

/** FAT counts in steps of two seconds; whoever looks sees the same time. */
const COARSE_NS = 2_000_000_000n;

function isSameTime(kept: bigint, wanted: bigint): boolean {
  const difference = kept - wanted;
  return difference < COARSE_NS && difference > -COARSE_NS;
}
