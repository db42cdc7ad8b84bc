import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { parseDomain } from './domain.ts';
import { judgeDisks } from './protectable.ts';
import { FULL } from './testing/definitions.ts';

const NOT_KNOWN: ReadonlyMap<string, number> = new Map();

function judged(exclude: string[] = [], xml = FULL, versions = NOT_KNOWN): Record<string, string> {
  return Object.fromEntries(
    judgeDisks(parseDomain(xml), { exclude, versions }).map((judgement) => [
      judgement.disk.target,
      judgement.protection === 'excluded' ? judgement.code : judgement.protection,
    ]),
  );
}

test('each disk is protected as its format allows, or excluded for a reason', () => {
  assert.deepEqual(judged(), {
    vda: 'incremental',
    vdb: 'full-compare',
    sda: 'full-compare',
    // A volume of a pool that is not a file: nothing tells it from another.
    sdb: 'full-compare',
    sdc: 'shared',
    sdd: 'read-only',
    sde: 'transient',
    sdf: 'pass-through',
    sdg: 'removable',
    sdh: 'removable',
    vde: 'full-compare',
  });
});

test('disks without an image, and of a kind that QEMU cannot back up, are excluded', () => {
  const without = FULL.replace("<source file='/srv/original/shared.img'/>", '');
  assert.equal(judged([], without)['sdc'], 'no-source');
  const foreign = FULL.replace("<disk type='nvme'", "<disk type='vhostuser'");
  assert.equal(judged([], foreign)['vde'], 'unknown-source');
  const folder = FULL.replace(
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file=",
    "<disk type='dir' device='disk'><driver name='qemu' type='fat'/><source dir=",
  );
  assert.equal(judged([], folder)['sdc'], 'host-folder');
});

test('what is asked to be excluded is, and must be there', () => {
  assert.equal(judged(['vda', 'sdg'])['vda'], 'by-request');
  assert.throws(
    () => judged(['vda', 'vdz']),
    (error) => isCofferError(error, 'usage') && error.details['disk'] === 'vdz',
  );
});

test('a raw file comes with the command that makes it incremental', () => {
  const xml = FULL.replace('<shareable/>', '').replace('shared.img', 'it&apos;s.img');
  const raw = judgeDisks(parseDomain(xml), { exclude: [], versions: NOT_KNOWN }).find(
    ({ disk }) => disk.target === 'sdc',
  );
  assert.ok(raw?.protection === 'full-compare');
  const quoted = String.raw`'/srv/original/it'\''s.img'`;
  assert.ok(raw.remedy?.includes(`qemu-img convert -f raw -O qcow2 ${quoted} `), raw.remedy);
});

test('a qcow2 image that keeps no bitmaps is read whole', () => {
  const of = (version: number) => {
    const versions = new Map([['vda', version]]);
    return judgeDisks(parseDomain(FULL), { exclude: [], versions })[0]!;
  };
  assert.equal(of(3).protection, 'incremental');
  const old = of(2);
  assert.ok(old.protection === 'full-compare' && old.isOutdated);
  assert.match(old.remedy ?? '', /machine is off: qemu-img amend -f qcow2 -o compat=1\.1 \/srv/);
});
