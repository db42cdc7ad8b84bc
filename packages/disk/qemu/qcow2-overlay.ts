/** A qcow2 image whose unwritten blocks come from an NBD export: QEMU runs a machine on it. */
import { chmodSync } from 'node:fs';
import { formatNbdUri, type NbdAddress } from '../nbd/address.ts';
import { callQemuImg } from './tool.ts';

export interface Qcow2OverlayOptions {
  readonly path: string;
  readonly sizeBytes: number;
  /** What is below; it need not be there yet. */
  readonly below: NbdAddress;
}

/** Fails with `tool-missing` and `tool-failed`. */
export async function createQcow2Overlay(options: Qcow2OverlayOptions): Promise<void> {
  const { path, sizeBytes, below } = options;
  const place = formatNbdUri({ ...below, tls: false });
  const size = String(Math.ceil(sizeBytes / 512) * 512);
  const words = ['create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', place, path, size];
  await callQemuImg(words);
  // What the machine writes is nobody else's.
  chmodSync(path, 0o600);
}
