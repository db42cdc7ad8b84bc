/**
 * Reading of LUKS1 and LUKS2 volumes with a passphrase: without the kernel and its device mapper,
 * and nothing is written. The data is not authenticated; what was changed decrypts to noise.
 */
import type { Disk } from '@coffer/disk/disk.ts';
import { joinedDisk } from '../volumes/range-disk.ts';
import { decryptedDisk } from './decrypted-disk.ts';
import { damaged } from './failures.ts';
import type { LuksHeader } from './header.ts';
import { LUKS1_HEADER_BYTES, parseLuks1Header } from './luks1-codec.ts';
import { hasLuksMagic } from './luks2-binary-codec.ts';
import { readLuks2Header } from './luks2-header.ts';
import { volumeKeyOf } from './unlock.ts';

/**
 * Opens the volume as the disk that is in it. Closing that closes the disk given; where opening
 * fails, it stays open. Fails with `volume-locked` when the passphrase opens no key slot, with
 * `file-system-damaged`, and with `file-system-unsupported` when the volume uses a cipher and the
 * like that are not understood, or asks for absurd work. Keys are derived in threads.
 */
export async function openLuks(disk: Disk, passphrase: Buffer): Promise<Disk> {
  const header = await readHeader(disk);
  const key = await volumeKeyOf(disk, header, passphrase);
  const parts = header.segments.map((segment) => decryptedDisk(disk, segment, key));
  return { ...joinedDisk(parts), close: () => disk.close() };
}

/** Only LUKS2 has a second copy, which may be left where nothing else is. */
async function readHeader(disk: Disk): Promise<LuksHeader> {
  if (disk.sizeBytes < LUKS1_HEADER_BYTES) throw damaged('LUKS header', 0, 'cut');
  const bytes = Buffer.alloc(LUKS1_HEADER_BYTES);
  await disk.read(0, bytes);
  const isFirstVersion = hasLuksMagic(bytes) && bytes.readUInt16BE(6) === 1;
  return isFirstVersion ? parseLuks1Header(bytes, disk.sizeBytes) : await readLuks2Header(disk);
}
