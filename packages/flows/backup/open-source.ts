/** Opens what is backed up as a disk: an image, a block device, or an export of an NBD server. */
import type { RunContext } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { openImage } from '@coffer/disk/image.ts';
import type { ImageFormat } from '@coffer/disk/image-format.ts';
import { isNbdUri, type NbdAddress, parseNbdUri } from '@coffer/disk/nbd/address.ts';
import type { NbdTls } from '@coffer/disk/nbd/tls.ts';

const CONNECT_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 60_000;
const RECONNECT_TIMEOUT_MS = 30_000;

export interface DiskSourceOptions {
  /** Undefined: what its bytes say. */
  readonly format: ImageFormat | undefined;
  /** How to speak to a server; undefined without TLS. */
  readonly tlsOf: (address: NbdAddress) => NbdTls | undefined;
}

/** Fails with `usage` and the codes of sources. */
export async function openDiskSource(
  { clock, random }: RunContext,
  source: string,
  { format, tlsOf }: DiskSourceOptions,
): Promise<Disk> {
  if (!isNbdUri(source)) return await openImage(source, { format, clock, random });
  const address = parseNbdUri(source);
  const { openNbdDisk } = await import('@coffer/disk/nbd/nbd-disk.ts');
  return await openNbdDisk({
    address,
    tls: tlsOf(address),
    writable: false,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    reconnectTimeoutMs: RECONNECT_TIMEOUT_MS,
    clock,
  });
}
