// restic: repository version 2, default compression (auto), as its users run it.
import { join } from 'node:path';
import type { Command } from './measure.ts';
import { firstLineOf, toolFolder } from './tool.ts';
import type { Endpoint, Tool } from './tool.ts';

export function restic(scratch: string, endpoint?: Endpoint): Tool {
  const folder = toolFolder(scratch, 'restic');
  let lastSource = '';
  const run = (...args: string[]): Command => ({
    argv: ['restic', ...args],
    env: {
      RESTIC_REPOSITORY: endpoint?.repository ?? folder.repository,
      RESTIC_PASSWORD_FILE: folder.passphraseFile,
      RESTIC_CACHE_DIR: folder.cache,
      ...endpoint?.env,
    },
  });
  const backup = (source: string, ...flags: string[]) => {
    lastSource = source;
    return run('backup', '--quiet', ...flags, source);
  };
  return {
    name: 'restic',
    repository: folder.repository,
    version: () => firstLineOf(['restic', 'version']),
    init: () => run('init', '--repository-version', '2'),
    backupDisk: (image) => backup(image, '--force'),
    backupFolder: (source) => backup(source),
    restore: (target) => ({
      command: run('restore', 'latest', '--quiet', '--target', target),
      path: join(target, lastSource),
    }),
    removeOldest: () => run('forget', '--keep-last', '1', '--group-by', ''),
    collectGarbage: () => run('prune'),
    planGarbageCollection: () => run('prune', '--dry-run'),
  };
}
