/**
 * The checkpoints of a machine that are ours. Each costs the guest a little at every flush, so a
 * repository keeps two: that of its newest point, and the one before it. Several repositories may
 * protect one machine, so each has names of its own.
 */
import { isCofferError } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { append, parseXml, removeNamed, rootOf, serializeXml } from '../domain/xml.ts';
import { bitmapsOf, type DirtyBitmap, removeBitmap } from './bitmaps.ts';

/** Others make checkpoints, too; those are not touched. */
const PREFIX = 'coffer-';
const OWNER_LENGTH = 8;

/** Of all checkpoints of a repository. */
export function checkpointPrefix(repositoryId: string): string {
  return `${PREFIX}${repositoryId.slice(0, OWNER_LENGTH)}-`;
}

/** Those with the prefix, newest first. */
async function checkpointsOf(
  connection: LibvirtConnection,
  domain: Domain,
  prefix: string,
): Promise<string[]> {
  const all = await connection.checkpoints(domain);
  const ordered: string[] = [];
  for (let parent: string | undefined, step = 0; step <= all.length; step++) {
    const next = all.find((each) => each.parent === parent);
    if (!next) break;
    ordered.push(next.name);
    parent = next.name;
  }
  return ordered.filter((name) => name.startsWith(prefix)).toReversed();
}

/** Removes all with the prefix but those named. */
export async function removeOthers(
  connection: LibvirtConnection,
  domain: Domain,
  { prefix, keep }: { readonly prefix: string; readonly keep: ReadonlySet<string> },
): Promise<void> {
  for (const name of await checkpointsOf(connection, domain, prefix)) {
    if (!keep.has(name)) await removeCheckpoint(connection, domain, name);
  }
}

/**
 * Removes those of Coffer whose bitmaps died in a crash: with them, libvirt makes no other. Newest
 * first, and one by one (removing them with their children has ended libvirt's daemon).
 */
export async function removeBroken(
  connection: LibvirtConnection,
  domain: Domain,
  bitmaps: readonly DirtyBitmap[],
): Promise<void> {
  const alive = new Set(bitmaps.filter(({ isIntact }) => isIntact).map(({ name }) => name));
  for (const name of await checkpointsOf(connection, domain, PREFIX)) {
    if (!alive.has(name)) await removeCheckpoint(connection, domain, name);
  }
}

/**
 * Removes bitmaps of ours that no checkpoint knows any more: they cost the guest, and nobody reads
 * them. Checkpoints go without their bitmaps when one of them is missing, or when the machine is off.
 */
export async function removeStray(
  connection: LibvirtConnection,
  domain: Domain,
  { prefix }: { readonly prefix: string },
): Promise<void> {
  const known = new Set((await connection.checkpoints(domain)).map(({ name }) => name));
  for (const bitmap of await bitmapsOf(connection, domain)) {
    const isStray = bitmap.name.startsWith(prefix) && !known.has(bitmap.name);
    if (isStray) await removeBitmap(connection, domain, bitmap);
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

/** Of a machine whose images are others now: what libvirt knows of all checkpoints, newest first. */
export async function removeAllMetadata(
  connection: LibvirtConnection,
  domain: Domain,
): Promise<void> {
  for (const name of await checkpointsOf(connection, domain, '')) {
    await connection.checkpointDelete(domain, name, { metadataOnly: true });
  }
}

/**
 * Tells this libvirt of a checkpoint that another one made: when a machine migrates, its bitmaps go
 * with its images, and what libvirt knew of them stays behind. False when it does not take it.
 */
export async function adoptCheckpoint(
  connection: LibvirtConnection,
  domain: Domain,
  xml: string,
): Promise<boolean> {
  try {
    const redefined = ofThisHost(xml, await connection.xml(domain));
    await connection.checkpointCreate(domain, redefined, { redefine: true, validate: true });
    return true;
  } catch (error) {
    // Then the disks are read whole.
    if (isCofferError(error, 'libvirt-failed')) return false;
    throw error;
  }
}

/** Without its parent, which is not known here, and with the definition that the machine has here. */
function ofThisHost(checkpointXml: string, domainXml: string): string {
  const document = parseXml(checkpointXml, 'domaincheckpoint');
  const root = rootOf(document);
  removeNamed(root, 'parent', 'domain');
  const domain = rootOf(parseXml(domainXml, 'domain'));
  append(root, domain);
  return serializeXml(root);
}
