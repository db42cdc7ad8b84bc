/**
 * Whether a host has what Coffer needs: its runtime, native code, folders and files of secrets.
 * Nothing here needs native code to be loaded.
 */
import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { type ErrorDetails, reasonOf, systemErrorCode } from '@coffer/base/errors.ts';
import type { HealthStatus, Look, Seen } from '@coffer/base/health.ts';

const STATUS = {
  'runtime-pinned': 'ok',
  'runtime-other': 'warning',
  'native-code-loads': 'ok',
  'native-code-broken': 'failure',
  'folder-private': 'ok',
  'folder-open-to-others': 'warning',
  'folder-unusable': 'failure',
  'folder-unusable-for-cache': 'warning',
  'secret-file-private': 'ok',
  'secret-file-absent': 'ok',
  'secret-file-open-to-others': 'warning',
  'secret-file-unreadable': 'failure',
} as const satisfies Record<string, HealthStatus>;

export type HostHealthCode = keyof typeof STATUS;

function seen(code: HostHealthCode, details: ErrorDetails): Seen<HostHealthCode> {
  return { code, status: STATUS[code], details };
}

export interface Runtime {
  readonly version: string;
  /** The one that Coffer was tested with; undefined where there is none for this processor. */
  readonly pinned: string | undefined;
}

export function runtimeLook({ version, pinned }: Runtime): Look<HostHealthCode> {
  const code = version === pinned ? 'runtime-pinned' : 'runtime-other';
  return { subject: 'node', see: () => seen(code, { version, pinned }) };
}

/** By loading it. */
export function nativeCodeLooks(): Look<HostHealthCode>[] {
  const modules: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['BLAKE3', async () => (await import('@coffer/base/digest.ts')).digest(Buffer.from('a'))],
    ['system calls', async () => await import('@coffer/base/libc.ts')],
    ['index cache', async () => await import('@coffer/repository')],
    ['zstd', async () => (await import('node:zlib')).zstdCompressSync(Buffer.from('a'))],
  ];
  return modules.map(([name, load]) => ({
    subject: `native code: ${name}`,
    see: () => seeLoading(load),
  }));
}

async function seeLoading(load: () => Promise<unknown>): Promise<Seen<HostHealthCode>> {
  try {
    await load();
    return seen('native-code-loads', {});
  } catch (error) {
    return seen('native-code-broken', { reason: reasonOf(error) });
  }
}

export interface FolderOptions {
  readonly subject: string;
  /** Fails where nobody knows which it would be. */
  readonly folderOf: () => string;
  /** It can be done without. */
  readonly isCache: boolean;
}

/** Of the user alone; it is made where it is not there. */
export function folderLook({ subject, folderOf, isCache }: FolderOptions): Look<HostHealthCode> {
  const see = (): Seen<HostHealthCode> => {
    try {
      return seeFolder(folderOf());
    } catch (error) {
      const code = isCache ? 'folder-unusable-for-cache' : 'folder-unusable';
      return seen(code, { reason: reasonOf(error) });
    }
  };
  return { subject, see };
}

function seeFolder(folder: string): Seen<HostHealthCode> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  const mode = modeOf(folder);
  const isPrivate = (mode & 0o022) === 0;
  return seen(isPrivate ? 'folder-private' : 'folder-open-to-others', {
    folder,
    mode: mode.toString(8),
  });
}

/** A file that is not there gives nothing away. */
export function secretFileLook(file: string): Look<HostHealthCode> {
  return { subject: 'passphrase file', see: () => seeSecretFile(file) };
}

function seeSecretFile(file: string): Seen<HostHealthCode> {
  try {
    const mode = modeOf(file);
    const isPrivate = (mode & 0o077) === 0;
    const details = { file, mode: mode.toString(8) };
    return seen(isPrivate ? 'secret-file-private' : 'secret-file-open-to-others', details);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return seen('secret-file-absent', { file });
    return seen('secret-file-unreadable', { file, reason: reasonOf(error) });
  }
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}
