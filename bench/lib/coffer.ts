// Coffer itself, by its command line as any user runs it.
import { execFileSync } from 'node:child_process';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from './measure.ts';
import { firstLineOf, toolFolder } from './tool.ts';
import type { Endpoint, Tool } from './tool.ts';

const PROGRAM = fileURLToPath(new URL('../../coffer', import.meta.url));
const ITEM = 'bench';

export function coffer(scratch: string, endpoint?: Endpoint): Tool {
  const folder = toolFolder(scratch, 'coffer');
  let lastSource = '';
  const repository = endpoint?.repository ?? folder.repository;
  const common = ['--repo', repository, '--passphrase-file', folder.passphraseFile];
  const run = (...args: string[]): Command => ({
    argv: [PROGRAM, ...common, ...args],
    env: { XDG_CACHE_HOME: folder.cache, ...endpoint?.env },
  });
  const backup = (source: string, ...flags: string[]) => {
    lastSource = source;
    return run('backup', source, '--item', ITEM, '--json', ...flags);
  };
  return {
    name: 'coffer',
    repository: folder.repository,
    version: () => firstLineOf([PROGRAM, '--version']),
    init: () => run('init'),
    // Without a change list from the source, Coffer reads and hashes the whole disk each time.
    backupDisk: (image) => backup(image, '--disk'),
    backupFolder: (source) => backup(source),
    restore: (target) => {
      const path = join(target, basename(lastSource));
      return { command: run('restore', `${ITEM}@latest`, '--to', path, '--json'), path };
    },
    removeOldest: () => run('remove', oldestPoint(run('points', '--json'))),
    collectGarbage: () => run('gc'),
    planGarbageCollection: () => run('gc', '--dry-run'),
  };
}

function oldestPoint(list: Command): string {
  const [program, ...args] = list.argv;
  const stdout = execFileSync(program!, args, {
    encoding: 'utf8',
    env: { ...process.env, ...list.env },
  });
  const points = JSON.parse(stdout) as { point: string; takenAt: string }[];
  points.sort((a, b) => (a.takenAt < b.takenAt ? -1 : 1));
  return points[0]!.point;
}
