/**
 * Finds images that were cut or whose tables are wrong. QEMU opens them all the same, and reads what
 * is beyond the end of the file as zeroes: a backup would be wrong without a word.
 */
import { execFile } from 'node:child_process';
import { closeSync, fstatSync, readSync } from 'node:fs';
import { CofferError, toolEnvironment } from '@coffer/base';
import { openExisting } from './lock.ts';
import { imageOptions, lastWords, toolFailure } from './tool.ts';

/** A check reads all tables of the image. */
const TIMEOUT_MS = 600_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
/** Exit codes of `qemu-img check`: clusters that are taken and not used; a format without checks. */
const LEAKS = 3;
const NO_CHECKS = 63;

/** Fails with `image-damaged`, or `tool-missing`. */
export async function checkImage(path: string, format: string): Promise<void> {
  if (format === 'vdi') checkVdiLength(path);
  const args = ['check', '-q', '--image-opts', imageOptions(path, format)];
  const options = {
    timeout: TIMEOUT_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
    killSignal: 'SIGKILL',
    env: toolEnvironment(),
  } as const;
  await new Promise<void>((resolve, reject) => {
    execFile('qemu-img', args, options, (error, stdout, stderr) => {
      const said = lastWords(stdout + stderr);
      if (!error || error.code === LEAKS || error.code === NO_CHECKS) resolve();
      else if (typeof error.code !== 'number') reject(toolFailure('qemu-img', error, said));
      else reject(new CofferError('image-damaged', { path, format, said }, error));
    });
  });
}

/** Of VDI, QEMU's check looks at the tables only; the header says how many blocks there are. */
function checkVdiLength(path: string): void {
  const fd = openExisting(path);
  try {
    const header = Buffer.alloc(0x200);
    readSync(fd, header, 0, header.length, 0);
    const dataOffset = header.readUInt32LE(0x158);
    const blockSize = header.readUInt32LE(0x178);
    const blocksAllocated = header.readUInt32LE(0x184);
    const needs = dataOffset + blockSize * blocksAllocated;
    const { size } = fstatSync(fd);
    if (size < needs) {
      throw new CofferError('image-damaged', { path, structure: 'blocks', size, needs });
    }
  } finally {
    closeSync(fd);
  }
}
