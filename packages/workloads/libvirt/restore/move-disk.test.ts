import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { fastClock } from '../capture/testing/fake-machine.ts';
import type { BlockJob, Domain, LibvirtConnection } from '../connection.ts';
import { moveDisk } from './move-disk.ts';

const folder = mkdtempSync(join(tmpdir(), 'coffer-move-disk-'));
after(() => rmSync(folder, { recursive: true }));
const image = join(folder, 'image');
const domain: Domain = { name: 'web', uuid: '12345678-2222-4333-8444-555555555555', id: 7 };

/** A machine whose disk is on an overlay, until `pivot` lets it go on with the image. */
class MovedMachine {
  disk = join(folder, 'overlay');
  job: BlockJob | undefined;
  copies = 0;
  /** What libvirt says to a pivot, which happens all the same. */
  refusal: CofferError | undefined;

  get connection(): LibvirtConnection {
    const methods: Partial<LibvirtConnection> = {
      blockJobInfo: async () => this.job,
      blockCopy: async () => {
        this.copies++;
        writeFileSync(image, 'the copy');
        this.job = { type: 2, done: 5, total: 5 };
      },
      blockJobAbort: async () => this.pivot(),
      xml: async () =>
        `<domain type='qemu'><name>web</name><uuid>${domain.uuid}</uuid>` +
        `<memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='file' device='disk'>` +
        `<driver name='qemu' type='qcow2'/><source file='${this.disk}'/>` +
        `<target dev='vda' bus='virtio'/></disk></devices></domain>`,
    };
    return methods as unknown as LibvirtConnection;
  }

  pivot(): void {
    this.job = undefined;
    this.disk = image;
    if (this.refusal) throw this.refusal;
  }
}

async function move(machine: MovedMachine): Promise<void> {
  await moveDisk(testRun({ clock: fastClock() }), {
    connection: machine.connection,
    domain,
    disk: 'vda',
    to: { path: image, format: 'qcow2' },
  });
}

test('a disk that has moved, though libvirt said no, is not moved again', async () => {
  const machine = new MovedMachine();
  machine.refusal = new CofferError('libvirt-failed');
  await move(machine);
  assert.equal(machine.copies, 1);
  assert.ok(existsSync(image), 'the machine runs on it');
  await move(machine);
  assert.equal(machine.copies, 1);
  assert.ok(existsSync(image));
});

test('a copy that somebody else brings to its end is not begun again', async () => {
  const machine = new MovedMachine();
  machine.job = { type: 2, done: 1, total: 5 };
  writeFileSync(image, 'the copy');
  const moving = move(machine);
  machine.pivot();
  await moving;
  assert.equal(machine.copies, 0);
  assert.ok(existsSync(image));
});
