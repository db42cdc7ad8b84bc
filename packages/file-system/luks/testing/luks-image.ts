/** Encrypted volumes that qemu-img and cryptsetup make of plain bytes, as files in a folder. */
import { createHash } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tool, withFolder } from '../../testing/tool.ts';

export const PASSPHRASE = Buffer.from('correct horse battery staple');

/** cryptsetup moves data by half of the space that it is given for its header. */
const LUKS2_HEADER_BYTES = 4 * 1024 * 1024;

/** qemu-img measures the time of key derivation, and gives up when the machine is busy. */
const ATTEMPT_COUNT_MAX = 30;

/** A LUKS1 volume by qemu-img, which derives keys for seconds, with options such as `cipher-mode=cbc`. */
export async function luks1Image(plain: Buffer, options: readonly string[] = []): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const source = join(folder, 'plain');
    const target = join(folder, 'image');
    await writeFile(source, plain);
    const secret = ['--object', `secret,id=s,data=${PASSPHRASE.toString()}`];
    const wanted = ['key-secret=s', 'iter-time=10', ...options].join(',');
    const formats = ['-f', 'raw', '-O', 'luks', '-o', wanted];
    await withAttempts(() => tool('qemu-img', ['convert', ...secret, ...formats, source, target]));
    return await readFile(target);
  });
}

async function withAttempts(make: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await make();
      return;
    } catch (error) {
      const isBusy = String(error).includes('Unable to get accurate CPU usage');
      if (!isBusy || attempt === ATTEMPT_COUNT_MAX) throw error;
    }
  }
}

/** Few iterations, since it is not the strength that is tested. */
export const PBKDF2 = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'] as const;

export function argon2(kind: 'argon2i' | 'argon2id', laneCount = 1): readonly string[] {
  const cost = ['--pbkdf-force-iterations', '4', '--pbkdf-memory', '32768'];
  return ['--pbkdf', kind, ...cost, '--pbkdf-parallel', String(laneCount)];
}

/** A LUKS2 volume by cryptsetup, which encrypts the bytes without the kernel's device mapper. */
export async function luks2Image(plain: Buffer, options: readonly string[]): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await writeFile(image, plain);
    await truncate(image, plain.length + 2 * LUKS2_HEADER_BYTES);
    const space = ['--reduce-device-size', String(2 * LUKS2_HEADER_BYTES)];
    const how = ['--encrypt', '--type', 'luks2', '--force-offline-reencrypt', ...space];
    await cryptsetup(folder, ['reencrypt', ...how, ...options, image]);
    const made = await readFile(image);
    return made.subarray(0, plain.length + LUKS2_HEADER_BYTES);
  });
}

/** A LUKS1 volume by cryptsetup, which makes only LUKS2 without the device mapper, and converts. */
export async function convertedImage(
  plain: Buffer,
  { cipher = 'aes-xts-plain64', keyBits = 512, hash = 'sha256' } = {},
): Promise<Buffer> {
  const data = ['--cipher', cipher, '--key-size', String(keyBits), '--sector-size', '512'];
  const keySlot = ['--keyslot-cipher', cipher, '--keyslot-key-size', String(keyBits)];
  const luks2 = await luks2Image(plain, [...PBKDF2, '--hash', hash, ...data, ...keySlot]);
  return await changedImage(luks2, (path) => ['convert', '--type', 'luks1', path]);
}

/** What cryptsetup makes of an image with the arguments that `change` gives for its path. */
export async function changedImage(
  image: Buffer,
  ...changes: readonly ((path: string, newKeyFile: string) => readonly string[])[]
): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const path = join(folder, 'image');
    const newKeyFile = join(folder, 'new-key');
    await writeFile(path, image);
    await writeFile(newKeyFile, OTHER_PASSPHRASE);
    for (const change of changes) await cryptsetup(folder, change(path, newKeyFile));
    return await readFile(path);
  });
}

/** Of the slot that `luksAddKey` adds. */
export const OTHER_PASSPHRASE = Buffer.from('another passphrase');

async function cryptsetup(folder: string, args: readonly string[]): Promise<void> {
  const keyFile = join(folder, 'key');
  await writeFile(keyFile, PASSPHRASE);
  await tool('cryptsetup', ['-q', '--key-file', keyFile, ...args]);
}

/** Where the second copy of a header is, in images made here. */
export const SECOND_COPY_OFFSET = 0x4000;

/** The image with other metadata in both copies of its header, and with right checksums. */
export function withMetadata(image: Buffer, edit: (json: string) => string): Buffer {
  const edited = Buffer.from(image);
  for (const offset of [0, SECOND_COPY_OFFSET]) {
    const area = edited.subarray(offset + 4096, offset + SECOND_COPY_OFFSET);
    const json = edit(area.subarray(0, area.indexOf(0)).toString());
    area.fill(0);
    area.write(json);
    sealHeader(edited, offset);
  }
  return edited;
}

/** Corrects the checksum of a copy. */
export function sealHeader(image: Buffer, offset: number): void {
  const header = image.subarray(offset, offset + SECOND_COPY_OFFSET);
  header.fill(0, 448, 512);
  createHash('sha256').update(header).digest().copy(header, 448);
}
