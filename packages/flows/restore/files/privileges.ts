/**
 * What gives its holder rights on a host: nodes of devices, programs that run as their owner or group,
 * and capabilities of files. Whoever made a guest's disk must not get them on the host that it is
 * restored to, unless that was asked for.
 */
import type { FileMetadata } from '@coffer/base';
import type { OnRefused } from '@coffer/workloads/files/target-metadata.ts';

const SET_ID_BITS = 0o6000;
const CAPABILITIES = Buffer.from('security.capability');

/** Why something is not there as it was. */
export const PRIVILEGED = new Error('it gives rights on this host: --with-privileges restores it');

export function isDevice({ type }: FileMetadata): boolean {
  return type === 'character-device' || type === 'block-device';
}

/** Tells what it takes away. Bits of a folder give no rights, and stay. */
export function withoutPrivileges(entry: FileMetadata, onTaken: OnRefused): FileMetadata {
  if (entry.type === 'directory') return entry;
  const mode = entry.mode & ~SET_ID_BITS;
  const extendedAttributes = entry.extendedAttributes.filter(
    ({ name }) => !name.equals(CAPABILITIES),
  );
  const isWithout = extendedAttributes.length === entry.extendedAttributes.length;
  if (mode === entry.mode && isWithout) return entry;
  if (mode !== entry.mode) onTaken('mode', PRIVILEGED);
  if (!isWithout) onTaken('attribute', PRIVILEGED);
  return { ...entry, mode, extendedAttributes };
}
