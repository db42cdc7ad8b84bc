import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { type BackupDisk, backupXml, checkpointXml } from './backup-xml.ts';
import { small } from './testing/definitions.ts';
import { embeddedLibvirt, makeImage } from './testing/embedded-libvirt.ts';

const libvirt = await embeddedLibvirt();
after(async () => await libvirt.close());

function exported(target: string): { target: string; exportName: string; scratchPath: string } {
  return { target, exportName: `of-${target}`, scratchPath: `${libvirt.folder}/scratch-${target}` };
}

function backup(...disks: BackupDisk[]): string {
  return backupXml({ socketPath: `${libvirt.folder}/s&'"<`, disks });
}

function checkpoint(name: string): string {
  const disks = ['vda', 'vdb', 'hdc'].map((target) => ({ target, isTracked: target === 'vda' }));
  return checkpointXml({ name, disks })!;
}

test('libvirt runs a full backup, then an incremental one beside a full one', async () => {
  const { folder, virsh, write } = libvirt;
  await makeImage(`${folder}/a.qcow2`, 'qcow2', '1M');
  await makeImage(`${folder}/b.raw`, 'raw', '1M');
  const domain = await write('small.xml', small(folder));
  const none: BackupDisk = { target: 'hdc', mode: 'none' };
  const whole: BackupDisk = { ...exported('vdb'), mode: 'full' };
  const first = backup({ ...exported('vda'), mode: 'full' }, whole, none);
  const changed = { mode: 'incremental', base: 'one', exportBitmap: 'since-one' } as const;
  const second = backup({ ...exported('vda'), ...changed }, whole, none);
  try {
    await virsh(`define --validate ${domain}`);
    const shown = await virsh(
      'start small --paused',
      `backup-begin small ${await write('b1', first)} ${await write('c1', checkpoint('one'))}`,
      'checkpoint-dumpxml small one --no-domain',
      'domjobabort small',
      `backup-begin small ${await write('b2', second)} ${await write('c2', checkpoint('two'))}`,
      'backup-dumpxml small',
      'domjobabort small',
      'destroy small',
    );
    assert.match(shown, /<disk name='vda' checkpoint='bitmap' bitmap='one'/);
    assert.match(shown, /<disk name='vdb' checkpoint='no'\/>/);
    const vda = /<disk name='vda' backup='yes'[^>]*>/.exec(shown)?.[0] ?? '';
    assert.match(vda, /backupmode='incremental' incremental='one'/);
    assert.match(vda, /exportname='of-vda' exportbitmap='since-one'/);
    assert.match(shown, /<disk name='vdb' backup='yes' type='file' backupmode='full'/);
    assert.match(shown, /<disk name='hdc' backup='no'\/>/);
  } finally {
    await virsh('destroy small').catch(() => 'It ended as it should.');
    await virsh('undefine small --checkpoints-metadata');
  }
});

test('a socket path that the kernel would not take is refused', () => {
  const disks: BackupDisk[] = [{ target: 'vda', mode: 'none' }];
  const long = `/${'é'.repeat(53)}`;
  assert.match(backupXml({ socketPath: long, disks }), /é/);
  assert.throws(
    () => backupXml({ socketPath: `${long}x`, disks }),
    (error) => isCofferError(error, 'usage') && error.details['bytesMax'] === 107,
  );
});

test('a checkpoint has a name that libvirt takes, and at least one disk', () => {
  const disks = [{ target: 'vda', isTracked: true }];
  for (const name of ['', '.a', 'a/b', 'a b', "a'b", 'a\n']) {
    assert.throws(
      () => checkpointXml({ name, disks }),
      (error) => isCofferError(error, 'libvirt-failed'),
    );
  }
  assert.ok(checkpointXml({ name: '01J-x_y.z', disks }));
  const untracked = [{ target: 'vda', isTracked: false }];
  assert.equal(checkpointXml({ name: 'a', disks: untracked }), undefined);
});
