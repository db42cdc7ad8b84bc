/** What a file has beside its content: streams with a name, and its security descriptor. */
import type { ExtendedAttribute } from '@coffer/base';
import { isCofferError } from '@coffer/base';
import { ATTRIBUTE } from './record-codec.ts';
import { findStream, findValue, type TableFile } from './file-table.ts';
import { encodeName } from './name-codec.ts';
import type { SecurityDescriptors } from './security.ts';
import { readWhole } from './stream.ts';
import { COMPRESSED_CONTENT } from './system-compression.ts';
import type { Volume } from './volume.ts';

/** The largest value that Linux has for an attribute, and the longest name. */
const VALUE_BYTES_MAX = 64 * 1024;
const NAME_BYTES_MAX = 255;
/** Of one file; it bounds the memory for hostile ones. */
const VALUES_BYTES_MAX = 4 * 1024 * 1024;
const SECURITY_ID_OFFSET = 52;

/**
 * Streams with a name as `user.` attributes, where they are small enough for one, and the security
 * descriptor as ntfs-3g names it. Larger streams are not shown.
 */
export async function readAttributes(
  volume: Volume,
  file: TableFile,
  security: SecurityDescriptors | undefined,
): Promise<ExtendedAttribute[]> {
  const found: ExtendedAttribute[] = [];
  let rest = VALUES_BYTES_MAX;
  for (const stream of file.streams) {
    if (stream.type !== ATTRIBUTE.data || stream.name === '' || stream.isEncrypted) continue;
    const name = encodeName(`user.${stream.name}`);
    const isShown = name.length <= NAME_BYTES_MAX && !name.includes(0);
    if (!isShown || stream.name === COMPRESSED_CONTENT) continue;
    if (stream.sizeBytes > Math.min(VALUE_BYTES_MAX, rest)) continue;
    found.push({ name, value: await readWhole(volume, stream, VALUE_BYTES_MAX) });
    rest -= stream.sizeBytes;
  }
  const descriptor = await readDescriptor(volume, file, security);
  if (descriptor) found.push({ name: Buffer.from('system.ntfs_acl'), value: descriptor });
  return found.sort((a, b) => Buffer.compare(a.name, b.name));
}

/** A damaged descriptor is left out: the content of the file is worth more than its owner. */
async function readDescriptor(
  volume: Volume,
  file: TableFile,
  security: SecurityDescriptors | undefined,
): Promise<Buffer | undefined> {
  try {
    const own = findStream(file, ATTRIBUTE.securityDescriptor);
    if (own) return await readWhole(volume, own, VALUE_BYTES_MAX);
    const standard = findValue(file, ATTRIBUTE.standardInformation);
    // Before NTFS 3.0 the information was shorter, and each file had a descriptor of its own.
    if (!standard || standard.length < SECURITY_ID_OFFSET + 4) return undefined;
    const id = standard.u32(SECURITY_ID_OFFSET);
    return id === 0 ? undefined : await security?.find(id);
  } catch (error) {
    if (isCofferError(error, 'file-system-damaged')) return undefined;
    throw error;
  }
}
