/** Programs that make and judge images for tests; a missing one fails the test. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ToolOptions {
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
}

/** Debian keeps the programs that make file systems out of the way of users. */
const PATH = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;

/** Runs it and returns what it wrote. Fails with all that it said when it fails or is missing. */
export async function tool(
  name: string,
  args: readonly string[],
  { input, env }: ToolOptions = {},
): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    const options = {
      env: { ...process.env, PATH, LC_ALL: 'C', ...env },
      encoding: 'buffer' as const,
      maxBuffer: OUTPUT_BYTES_MAX,
    };
    const child = execFile(name, [...args], options, (error, stdout, stderr) => {
      if (!error) resolve(stdout);
      else reject(new Error(`${name} ${args.join(' ')}: ${String(stderr)}${error.message}`));
    });
    // A program that does not read what it is given may be gone already.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Calls `use` with a folder that is removed afterwards. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-file-system-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
