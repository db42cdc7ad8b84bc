/** The store on real volumes of other systems, which FUSE serves: drives that go from hand to hand. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { promisify } from 'node:util';
import { afterFailure } from '@coffer/base';
import { openFilesystemStore } from '../filesystem.ts';
import { objectStoreContract } from '../testing/contract.ts';

const execute = promisify(execFile);
const SIZE_BYTES = 400 * 1024 * 1024;

const VOLUMES = [
  { name: 'exFAT, which has no hard links', make: ['mkfs.exfat'], type: 'exfat-fuse' },
  { name: 'NTFS', make: ['mkntfs', '-q', '-F', '-f'], type: 'ntfs-3g' },
];

describe('filesystem of another system', { skip: notRoot() }, () => {
  for (const { name, make, type } of VOLUMES) {
    objectStoreContract(`filesystem on ${name}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'coffer-volume-'));
      const [image, mounted] = [join(folder, 'image'), join(folder, 'mounted')];
      await mkdir(mounted);
      await writeFile(image, '');
      await truncate(image, SIZE_BYTES);
      await execute(make[0]!, [...make.slice(1), image]);
      await execute('mount', ['-t', type, '-o', 'loop', image, mounted]);
      const end = async () => {
        await execute('umount', [mounted]);
        await rm(folder, { recursive: true });
      };
      const opened = openFilesystemStore(join(mounted, 'coffer'), { create: true });
      const store = await opened.catch((error: unknown) => afterFailure(error, end));
      const close = store.close.bind(store);
      store.close = async () => {
        await close();
        await end();
      };
      return store;
    });
  }
});

/** Mounting needs root: without it these tests are skipped, and say so. */
function notRoot(): string | false {
  return process.getuid?.() === 0 ? false : 'NOT RUN: mounting a volume needs root';
}
