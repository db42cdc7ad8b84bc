/** How NBD is encrypted, as the user says it. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { CofferError, systemErrorCode } from '@coffer/base';
import type { NbdAddress } from '@coffer/disk/nbd/address.ts';
import type { NbdTls } from '@coffer/disk/nbd/tls.ts';

/** For a server: a folder of certificates, or a file of shared keys. Fails with `usage`. */
export function parseServerTls(path: string): NbdTls {
  try {
    if (statSync(path).isDirectory()) return { form: 'certificates', folder: resolve(path) };
    return { form: 'psk', file: resolve(path), user: '' };
  } catch (error) {
    const reason = systemErrorCode(error);
    const expected =
      'a folder with server-cert.pem and server-key.pem, or a file of USER:KEY lines';
    throw new CofferError('usage', { tls: path, reason, expected }, error);
  }
}

/** What the URI of a server asks for; undefined for a connection in the clear. */
export function tlsOfAddress({
  tls,
  certificatesFolder,
  pskFile,
  user,
}: NbdAddress): NbdTls | undefined {
  if (!tls) return undefined;
  if (certificatesFolder !== undefined) {
    return { form: 'certificates', folder: resolve(certificatesFolder) };
  }
  if (pskFile !== undefined) return { form: 'psk', file: resolve(pskFile), user: user ?? 'nbd' };
  const expected = '?tls-certificates=FOLDER or ?tls-psk-file=FILE behind the URI';
  throw new CofferError('usage', { reason: 'nbds:// needs certificates or a key', expected });
}
