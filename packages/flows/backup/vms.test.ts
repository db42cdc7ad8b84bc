import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CofferError } from '@coffer/base';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { backUp, writeChunks } from '../machine/testing/fake-vm-host.ts';

test('what fails after a point was made is told with it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-vms-'));
  await using repositories = await TestRepository.create();
  try {
    const repository = await repositories.host();
    const image = join(folder, 'image');
    writeChunks(image, 1);
    const onDispose = async (): Promise<void> => {
      throw new CofferError('libvirt-unreachable');
    };
    const { point, findings } = await backUp(repository, image, { onDispose });
    assert.deepEqual(
      findings.map(({ code, subject, details }) => [code, subject.name, details['error']]),
      [['failed-afterwards', point, 'libvirt-unreachable']],
    );
    assert.deepEqual(
      (await repository.points()).map(({ id }) => id),
      [point],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
