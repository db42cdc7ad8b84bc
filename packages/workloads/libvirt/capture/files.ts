/** Files of the host, besides its disks, that a machine cannot start without. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CapturedFile } from '../../vm-capture.ts';
import type { Domain as Definition } from '../domain/domain.ts';

export function filesOf(definition: Definition): CapturedFile[] {
  const { nvram, kernel, initrd } = definition.boot;
  const files: CapturedFile[] = [];
  if (nvram !== undefined) files.push({ name: 'file-nvram', role: 'nvram', path: nvram });
  if (kernel !== undefined) files.push({ name: 'file-kernel', role: 'kernel', path: kernel });
  if (initrd !== undefined) files.push({ name: 'file-initrd', role: 'initrd', path: initrd });
  if (definition.tpm?.backend === 'emulator') files.push(...tpmState(definition.uuid));
  return files;
}

/** libvirt does not say where it keeps the state; the emulator that serves the machine knows. */
function tpmState(uuid: string): CapturedFile[] {
  const folder = tpmFolderOf(uuid);
  if (folder === undefined) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map(({ name }) => ({ name: `file-tpm-${name}`, role: 'tpm', path: join(folder, name) }));
}

/** Of the emulator that serves the machine; undefined while none does. */
export function tpmFolderOf(uuid: string): string | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const args = argumentsOf(pid);
    if (!args[0]?.endsWith('swtpm')) continue;
    const state = args.map((arg) => /(?:^|,)dir=([^,]+)/.exec(arg)?.[1]);
    const found = state.find((path) => path?.includes(uuid));
    if (found !== undefined) return found;
  }
  return undefined;
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    // It ended meanwhile.
    return [];
  }
}
