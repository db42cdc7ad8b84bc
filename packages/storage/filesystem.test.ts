import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFilesystemStore } from './filesystem.ts';
import { objectStoreContract } from './testing/contract.ts';

objectStoreContract('filesystem', async () =>
  openFilesystemStore(join(await mkdtemp(join(tmpdir(), 'coffer-')), 'a/b'), { create: true }),
);
