/** The store in a folder on FAT and exFAT, as the kernel of Linux has them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runStoreContract, type StoreVolume } from './store-guest.ts';

const SIZE_BYTES = 400 * 1024 * 1024;
const MAKERS = { vfat: 'mkfs.vfat', exfat: 'mkfs.exfat' } as const;

test('a repository can lie on FAT and on exFAT', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-store-guest-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const volumes = (['vfat', 'exfat'] as const).map((type): StoreVolume => {
    const image = join(folder, type);
    writeFileSync(image, '');
    truncateSync(image, SIZE_BYTES);
    execFileSync(MAKERS[type], [image], { stdio: ['ignore', 'ignore', 'inherit'] });
    return { image, type };
  });
  const said = await runStoreContract(folder, volumes);
  for (const { type } of volumes) {
    const part = said.split(`VOLUME ${type}`)[1] ?? '';
    const [passed, failed] = ['pass', 'fail'].map((word) => {
      return Number(new RegExp(`${word} (\\d+)`).exec(part)?.[1]);
    });
    assert.ok(passed! > 15 && failed === 0, `${type}: ${said}`);
  }
});
