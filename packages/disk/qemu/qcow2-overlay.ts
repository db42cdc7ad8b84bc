/** A qcow2 image whose unwritten blocks come from an NBD export: QEMU runs a machine on it. */
import { closeSync, openSync, rmSync } from 'node:fs';
import { CofferError, systemErrorCode } from '@coffer/base';
import { formatNbdUri, type NbdAddress } from '../nbd/address.ts';
import { targetFailure } from '../target-failure.ts';
import { callQemuImg } from './tool.ts';

export interface Qcow2OverlayOptions {
  readonly path: string;
  readonly sizeBytes: number;
  /** What is below; it need not be there yet. */
  readonly below: NbdAddress;
}

/** Fails with `target-not-empty` when there is such a file, with `tool-missing` and `tool-failed`. */
export async function createQcow2Overlay(options: Qcow2OverlayOptions): Promise<void> {
  const { path, sizeBytes, below } = options;
  occupy(path);
  const place = formatNbdUri({ ...below, tls: false });
  const size = String(Math.ceil(sizeBytes / 512) * 512);
  const words = ['create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', place, path, size];
  try {
    await callQemuImg(words);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** QEMU would write over what is there. What the machine writes is nobody else's. */
function occupy(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw targetFailure(path, error);
    throw new CofferError('target-not-empty', { target: path }, error);
  }
}
