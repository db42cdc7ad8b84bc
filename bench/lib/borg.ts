// borg: zstd level 1 and repokey-blake2, its fastest settings that encrypt.
import { join } from 'node:path';
import type { Command } from './measure.ts';
import { firstLineOf, toolFolder } from './tool.ts';
import type { Tool } from './tool.ts';

export function borg(scratch: string): Tool {
  const folder = toolFolder(scratch, 'borg');
  let archives: string[] = [];
  let count = 0;
  let lastSource = '';
  const run = (...args: string[]): Command => ({
    argv: ['borg', ...args],
    env: {
      BORG_REPO: folder.repository,
      BORG_PASSCOMMAND: `cat ${folder.passphraseFile}`,
      BORG_BASE_DIR: folder.cache,
    },
  });
  const create = (source: string, ...flags: string[]) => {
    const archive = `archive-${count++}`;
    archives.push(archive);
    lastSource = source;
    return run('create', '-C', 'zstd,1', ...flags, `::${archive}`, source);
  };
  return {
    name: 'borg',
    repository: folder.repository,
    version: () => firstLineOf(['borg', '--version']),
    init: () => run('init', '--encryption', 'repokey-blake2'),
    backupDisk: (image) => create(image, '--files-cache=disabled'),
    backupFolder: (source) => create(source),
    restore: (target) => ({
      // borg extracts into the working folder.
      command: { ...run('extract', '--sparse', `::${archives.at(-1)}`), cwd: target },
      path: join(target, lastSource),
    }),
    removeOldest: () => {
      const [oldest, ...rest] = archives;
      archives = rest;
      return run('delete', `::${oldest}`);
    },
    collectGarbage: () => run('compact'),
    planGarbageCollection: () => undefined,
  };
}
