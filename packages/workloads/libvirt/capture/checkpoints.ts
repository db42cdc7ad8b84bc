/**
 * The checkpoints of a machine that are ours. Each costs the guest a little at every flush, so two are
 * kept: that of the newest point, and the one before it.
 */
import { isCofferError } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { imagesWithBitmap } from './bitmaps.ts';

/** Others make checkpoints, too; those are not touched. */
const PREFIX = 'coffer-';

export function checkpointName(uniquePart: string): string {
  return PREFIX + uniquePart;
}

/** Ours, those that others build on last. */
async function ownCheckpoints(connection: LibvirtConnection, domain: Domain): Promise<string[]> {
  const all = await connection.checkpoints(domain);
  const ordered: string[] = [];
  for (let parent: string | undefined, step = 0; step <= all.length; step++) {
    const next = all.find((each) => each.parent === parent);
    if (!next) break;
    ordered.push(next.name);
    parent = next.name;
  }
  return ordered.filter((name) => name.startsWith(PREFIX)).toReversed();
}

/** Removes all of ours but those named. What cannot be removed now is tried again next time. */
export async function removeOthers(
  connection: LibvirtConnection,
  domain: Domain,
  keep: ReadonlySet<string>,
): Promise<void> {
  for (const name of await ownCheckpoints(connection, domain)) {
    if (!keep.has(name)) await removeCheckpoint(connection, domain, name);
  }
}

/**
 * Removes those of ours whose bitmaps died in a crash: with them, libvirt makes no other. Newest first,
 * and one by one (removing them with their children has ended libvirt's daemon).
 */
export async function removeBroken(
  connection: LibvirtConnection,
  domain: Domain,
  trackedImages: readonly string[],
): Promise<void> {
  for (const name of await ownCheckpoints(connection, domain)) {
    const images = await imagesWithBitmap(connection, domain, name);
    if (!trackedImages.some((path) => images.has(path))) {
      await removeCheckpoint(connection, domain, name);
    }
  }
}

/** With its bitmaps; where those are gone, what libvirt knows of it. */
export async function removeCheckpoint(
  connection: LibvirtConnection,
  domain: Domain,
  name: string,
): Promise<void> {
  try {
    await connection.checkpointDelete(domain, name);
  } catch (error) {
    if (!isCofferError(error, 'libvirt-failed')) throw error;
    await connection.checkpointDelete(domain, name, { metadataOnly: true });
  }
}
