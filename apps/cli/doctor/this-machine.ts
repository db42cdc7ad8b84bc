/** What the doctor says of this machine: the runtime, native code, the user's folders. */
import { readFileSync } from 'node:fs';
import { healthOf } from '@coffer/base/health.ts';
import {
  folderLook,
  nativeCodeLooks,
  runtimeLook,
  secretFileLook,
} from '@coffer/flows/health/host.ts';
import { interruptSignal } from '../run.ts';
import { cacheFolder, configFolder, embeddedPassphraseFile } from '../settings.ts';
import { type Check, checkOf } from './check.ts';

export interface MachineChecks {
  readonly checks: readonly Check[];
  /** False where nothing can be loaded that looks at a repository. */
  readonly isNativeCodeWell: boolean;
}

export async function checkMachine(): Promise<MachineChecks> {
  const health = await healthOf({ signal: interruptSignal }, [
    runtimeLook({ version: process.version, pinned: pinnedNodeVersion() }),
    ...nativeCodeLooks(),
    folderLook({ subject: 'cache folder', folderOf: cacheFolder, isCache: true }),
    folderLook({ subject: 'config folder', folderOf: configFolder, isCache: false }),
    ...secretFiles().map(secretFileLook),
  ]);
  return {
    checks: health.filter(({ code }) => code !== 'secret-file-absent').map(checkOf),
    isNativeCodeWell: health.every(({ code }) => code !== 'native-code-broken'),
  };
}

function pinnedNodeVersion(): string | undefined {
  const file = new URL('../../../package.json', import.meta.url);
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as {
    optionalDependencies?: Record<string, string>;
  };
  const pinned = manifest.optionalDependencies?.[`node-linux-${process.arch}`];
  return pinned === undefined ? undefined : `v${pinned}`;
}

function secretFiles(): string[] {
  const files = [process.env['COFFER_PASSPHRASE_FILE'], passphraseFileIfKnown()];
  return files.flatMap((file) => (file === undefined || file === '' ? [] : [file]));
}

function passphraseFileIfKnown(): string | undefined {
  try {
    return embeddedPassphraseFile();
  } catch {
    // Without a home there is none; the folders have been told about.
    return undefined;
  }
}
