import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CaptureBase } from '../../vm-capture.ts';
import { parseDomain } from '../domain/domain.ts';
import { judgeDisks } from '../domain/protectable.ts';
import { planDisks, type TrackedDisk, type TrackingState } from './plan.ts';

const disk = (target: string, format = 'qcow2'): string =>
  `<disk type='file' device='disk'><driver type='${format}'/><source file='/i/${target}'/><target dev='${target}'/></disk>`;
const JUDGEMENTS = judgeDisks(
  parseDomain(`<domain type='qemu'><name>web</name><memory>1024</memory>
  <uuid>11111111-2222-3333-4444-555555555555</uuid><os><type arch='x86_64'>hvm</type></os>
  <devices>${disk('vda')}${disk('vdb')}${disk('vdc', 'raw')}</devices></domain>`),
  { exclude: [], versions: new Map([['vda', 3]]) },
);

const BASE: CaptureBase = {
  checkpoint: 'coffer-1',
  checkpointXml: undefined,
  takenAt: 0,
  disks: new Map([
    ['vda', { sizeBytes: 100, identities: ['a'] }],
    ['vdb', { sizeBytes: 100, identities: ['b'] }],
    ['vdc', { sizeBytes: 100, identities: ['c'] }],
  ]),
};

function modes(
  change: Readonly<Record<string, Partial<TrackedDisk>>> = {},
  checkpoint: TrackingState['checkpoint'] = 'known',
  base: CaptureBase | undefined = BASE,
): string {
  const disks = new Map(
    ['vda', 'vdb', 'vdc'].map((target) => {
      const identities = [target.at(-1)!];
      return [target, { sizeBytes: 100, identities, isIntact: true, ...change[target] }];
    }),
  );
  const plan = planDisks(JUDGEMENTS, base, { checkpoint, disks });
  return plan.map(({ mode }) => (mode === 'incremental' ? 'i' : 'F')).join('');
}

test('only disks whose tracking can be trusted are read by their changes', () => {
  assert.equal(modes(), 'iiF', 'nothing tracks what changes in raw images');
  assert.equal(modes({ vdb: { isIntact: false } }), 'iFF');
  assert.equal(modes({ vda: { sizeBytes: 99 } }), 'FiF');
  assert.equal(modes({ vda: { sizeBytes: 101 } }), 'iiF');
  assert.equal(modes({}, 'unknown'), 'FFF');
  assert.equal(modes({}, 'known', { ...BASE, disks: new Map() }), 'FFF');
});

test('the first point reads all', () => {
  const state = { checkpoint: 'unknown', disks: new Map() } as const;
  const plan = planDisks(JUDGEMENTS, undefined, state);
  assert.deepEqual(
    plan.map(({ mode }) => mode),
    ['full', 'full', 'full'],
  );
  assert.deepEqual(
    plan.map(({ isTracked }) => isTracked),
    [true, true, false],
  );
});

test('a disk is told by its image, and not by its place', () => {
  const swapped = { vda: { identities: ['b'] }, vdb: { identities: ['a'] } };
  assert.equal(modes(swapped), 'FFF');
  assert.equal(modes({ vda: { identities: ['new'] } }), 'FiF', 'another file');
  assert.equal(modes({ vda: { identities: ['snapshot', 'a'] } }), 'iiF');
  assert.equal(modes({ vda: { identities: [] } }), 'FiF');
});

test('a file that several disks lie on tells nothing of one of them', () => {
  const shared = new Map([
    ['vda', { sizeBytes: 100, identities: ['a', 'template'] }],
    ['vdb', { sizeBytes: 100, identities: ['b', 'template'] }],
  ]);
  const base = { ...BASE, disks: shared };
  assert.equal(modes({ vda: { identities: ['new', 'template'] } }, 'known', base), 'FiF');
  assert.equal(modes({ vda: { identities: ['a', 'template'] } }, 'known', base), 'iiF');
});

test('a machine that has moved is known by its bitmaps, unless files of it came along', () => {
  const moved = { vda: { identities: ['x'] }, vdb: { identities: ['y'] }, vdc: { identities: [] } };
  assert.equal(modes(moved, 'adopted'), 'iiF');
  assert.equal(modes(moved, 'known'), 'FFF');
  assert.equal(modes({ vda: { identities: ['b'] }, vdb: { identities: ['a'] } }, 'adopted'), 'FFF');
});
