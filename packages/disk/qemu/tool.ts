/** Calls of QEMU's tools: bounded in time and output, and never left running. */
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { CofferError, systemErrorCode, toolEnvironment } from '@coffer/base';

const TIMEOUT_MS = 60_000;
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;
const SAID_LENGTH_MAX = 500;

/** What the tool printed. Fails with `tool-missing` or `tool-failed`. */
export async function callQemuImg(args: readonly string[]): Promise<string> {
  return await new Promise((resolve, reject) => {
    const options = {
      timeout: TIMEOUT_MS,
      maxBuffer: OUTPUT_BYTES_MAX,
      killSignal: 'SIGKILL',
      env: toolEnvironment(),
    } as const;
    execFile('qemu-img', [...args], options, (error, stdout, stderr) => {
      if (error) reject(toolFailure('qemu-img', error, stderr));
      else resolve(stdout);
    });
  });
}

export function toolFailure(tool: string, error: unknown, said: string): CofferError {
  if (systemErrorCode(error) === 'ENOENT') {
    return new CofferError('tool-missing', { tool, package: 'qemu-utils' }, error);
  }
  return new CofferError('tool-failed', { tool, said: lastWords(said) }, error);
}

export function lastWords(said: string): string {
  return said.trim().slice(-SAID_LENGTH_MAX);
}

/** An image for `--image-opts`: the format is never guessed, and no name is taken for a protocol. */
export function imageOptions(path: string, format: string): string {
  const isDevice = statSync(path, { throwIfNoEntry: false })?.isBlockDevice() ?? false;
  const driver = isDevice ? 'host_device' : 'file';
  return `driver=${format},file.driver=${driver},file.filename=${path.replaceAll(',', ',,')}`;
}
