/** What the doctor looks at on this machine: the runtime, native code, the user's folders. */
import { accessSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs';
import { systemErrorCode } from '@coffer/base/errors.ts';
import { cacheFolder, configFolder, embeddedPassphraseFile } from '../settings.ts';
import { type Check, failure, ok, warning } from './check.ts';

export async function checkMachine(): Promise<Check[]> {
  return [
    checkNode(),
    ...(await checkNativeModules()),
    checkFolder('cache folder', cacheFolder, 'warning'),
    checkFolder('config folder', configFolder, 'failure'),
    ...checkSecrets(),
  ];
}

function checkNode(): Check {
  const pinned = pinnedNodeVersion();
  if (process.version === `v${pinned}`) return ok('node', `Node ${pinned}, as pinned`);
  const help = 'Start Coffer with its own launcher, ./coffer, which uses the pinned Node.';
  return warning('node', `Node ${process.version} runs, ${pinned ?? 'none'} is pinned`, help);
}

function pinnedNodeVersion(): string | undefined {
  const file = new URL('../../../package.json', import.meta.url);
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as {
    optionalDependencies?: Record<string, string>;
  };
  return manifest.optionalDependencies?.[`node-linux-${process.arch}`];
}

async function checkNativeModules(): Promise<Check[]> {
  const modules: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['BLAKE3', async () => (await import('@coffer/base/digest.ts')).digest(Buffer.from('a'))],
    ['system calls', async () => await import('@coffer/base/libc.ts')],
    ['index cache', async () => await import('@coffer/repository/index/chunk-index.ts')],
    ['zstd', async () => (await import('node:zlib')).zstdCompressSync(Buffer.from('a'))],
  ];
  const checks: Check[] = [];
  for (const [name, load] of modules) {
    const check = `native code: ${name}`;
    try {
      await load();
      checks.push(ok(check, 'it loads'));
    } catch (error) {
      const help = 'Remove node_modules and start ./coffer again: it installs what is missing.';
      checks.push(failure(check, reasonOf(error), help));
    }
  }
  return checks;
}

function checkFolder(
  name: string,
  folderOf: () => string,
  whenUnusable: 'warning' | 'failure',
): Check {
  try {
    const folder = folderOf();
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    const mode = statSync(folder).mode & 0o777;
    if ((mode & 0o022) === 0) return ok(name, `${folder}, mode ${mode.toString(8)}`);
    const help = `Run: chmod go-w ${folder}`;
    return warning(name, `others can write to ${folder}, mode ${mode.toString(8)}`, help);
  } catch (error) {
    const help = 'Make it a folder that you can write to, or set HOME or the XDG variables.';
    return { check: name, status: whenUnusable, message: reasonOf(error), help };
  }
}

function checkSecrets(): Check[] {
  const files = [process.env['COFFER_PASSPHRASE_FILE'], passphraseFileIfKnown()];
  return files.flatMap((file) => (file === undefined || file === '' ? [] : checkSecret(file)));
}

function passphraseFileIfKnown(): string | undefined {
  try {
    return embeddedPassphraseFile();
  } catch {
    // Without a home there is none; the folders have been told about.
    return undefined;
  }
}

function checkSecret(file: string): Check[] {
  try {
    const mode = statSync(file).mode & 0o777;
    if ((mode & 0o077) === 0) return [ok('passphrase file', `${file}, mode ${mode.toString(8)}`)];
    const message = `others can read ${file}, mode ${mode.toString(8)}`;
    return [warning('passphrase file', message, `Run: chmod go= ${file}`)];
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    return [failure('passphrase file', reasonOf(error), 'Check its owner and permissions.')];
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
