/** Subvolumes: trees of files, which the root tree knows by number. */
import { parseRoot, parseRootReference } from './item-codec.ts';
import { ITEM, keysOf } from './key-codec.ts';
import type { BlockPointer } from './superblock-codec.ts';
import type { BtrfsVolume } from './volume.ts';

/** `BTRFS_FS_TREE_OBJECTID`: the subvolume that all others are in. */
export const TOP_LEVEL = 5n;

export interface Subvolume {
  readonly id: bigint;
  readonly tree: BlockPointer;
}

/** A name in a folder of another subvolume. */
export interface SubvolumeName {
  readonly subvolumeId: bigint;
  readonly folder: bigint;
  readonly name: Buffer;
}

/**
 * Undefined for one that was deleted, and for a name that is no longer its own: a snapshot has the
 * names of the subvolumes within its origin, but not the subvolumes.
 */
export async function findSubvolume(
  volume: BtrfsVolume,
  id: bigint,
  from?: SubvolumeName,
): Promise<Subvolume | undefined> {
  if (from && !(await isNamed(volume, id, from))) return undefined;
  let tree: BlockPointer | undefined;
  const { rootTree } = volume.superblock;
  // A tree that was replaced may still be there, before the one that counts.
  for await (const { body } of volume.items(rootTree, ...keysOf(id, ITEM.root))) {
    tree = parseRoot(body);
  }
  return tree && { id, tree };
}

async function isNamed(volume: BtrfsVolume, id: bigint, from: SubvolumeName): Promise<boolean> {
  const key = { objectId: from.subvolumeId, type: ITEM.rootReference, offset: id };
  const item = await volume.find(volume.superblock.rootTree, key);
  if (!item) return false;
  const { folder, name } = parseRootReference(item.body);
  return folder === from.folder && name.equals(from.name);
}
