/** One round each: something is killed at some moment, and then all has to be as if it were not. */
import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type CrashSite, gcOf } from './crash-site.ts';
import { type SourceKind, stateOf } from './random-source.ts';

/** True when the process was killed, false when it was faster. */
export type Round = (site: CrashSite) => Promise<boolean>;

const POINTS_MAX = 6;

export const ROUNDS: Readonly<Record<'backup' | 'gc' | 'copy' | 'restore', Round>> = {
  backup: killBackup,
  gc: killGc,
  copy: killCopy,
  restore: killRestore,
};

/** A backup that is not killed. */
export async function backUp(site: CrashSite, kind: SourceKind): Promise<void> {
  const ended = await site.done('repo', backupOf(site, kind));
  site.times.learn(`backup ${kind}`, ended);
  const { point } = JSON.parse(ended.stdout) as { point: string };
  site.promise(site.side('repo'), point, kind);
}

async function killBackup(site: CrashSite): Promise<boolean> {
  const kind = anyKind(site);
  const side = site.side('repo');
  if (side.promised.size > POINTS_MAX) await site.removeSome(side, 3);
  site.source.change(kind);
  const killAt = site.times.choose(`backup ${kind}`);
  const { signal } = await site.run('repo', backupOf(site, kind), killAt);
  await site.check(side, kind);
  await backUp(site, kind);
  await site.check(side, 'none');
  return signal !== null;
}

async function killGc(site: CrashSite): Promise<boolean> {
  const side = site.side('repo');
  for (const kind of ['files', 'disk'] as const) {
    site.source.change(kind);
    await backUp(site, kind);
  }
  // Something that a killed backup left is to be fenced and swept as well.
  site.source.change('disk');
  await site.run('repo', backupOf(site, 'disk'), site.times.choose('backup disk'));
  await site.check(side, 'disk');
  await site.removeSome(side, 1 + Math.floor(site.random.fraction() * 2));
  const { signal } = await site.run('repo', gcOf(side), site.times.choose('gc'));
  await site.check(side, 'none');
  site.times.learn('gc', await site.done('repo', gcOf(side)));
  await site.check(side, 'none');
  if (site.random.fraction() < 0.2) await site.checkNoGarbage(side);
  return signal !== null;
}

async function killCopy(site: CrashSite): Promise<boolean> {
  const [source, target] = [site.side('repo'), site.side('copy')];
  site.source.change('files');
  await backUp(site, 'files');
  if (source.promised.size > POINTS_MAX) await site.removeSome(source, 3);
  const copy = ['copy', '--from', source.location, '--to', target.location];
  const { signal } = await site.run('copy', copy, site.times.choose('copy'));
  // Whatever of it is there, is there whole.
  for (const { id } of await target.repository.points()) {
    const known = source.promised.get(id);
    if (known) target.promised.set(id, known);
  }
  await site.check(target, 'none');
  site.times.learn('copy', await site.done('copy', copy));
  for (const [id, known] of source.promised) target.promised.set(id, known);
  await site.check(target, 'none');
  if (target.promised.size > POINTS_MAX) {
    await site.removeSome(target, 2);
    // What is gone here and still there is copied again the next time.
    target.removed.clear();
    await site.done('copy', gcOf(target));
    await site.check(target, 'none');
  }
  return signal !== null;
}

async function killRestore(site: CrashSite): Promise<boolean> {
  const kind = anyKind(site);
  const side = site.side('repo');
  const points = (await side.repository.points()).filter((point) => point.kind === kind);
  const point = points.at(-1);
  if (!point) {
    await backUp(site, kind);
    return await killRestore(site);
  }
  const target = join(site.folder, 'target');
  rmSync(target, { recursive: true, force: true });
  const words = ['restore', point.id, '--to', target];
  const { signal } = await site.run(
    'repo',
    words,
    site.times.choose(`restore ${kind}`),
    site.folder,
  );
  const { state } = side.promised.get(point.id)!;
  if (kind === 'disk' && existsSync(target)) {
    assert.equal(stateOf(target, kind), state, 'a disk under its name is whole');
  }
  const again = [...words, ...(existsSync(target) ? ['--delta'] : [])];
  const ended = await site.done('repo', again);
  if (again.length === words.length) site.times.learn(`restore ${kind}`, ended);
  assert.equal(stateOf(target, kind), state, 'the next restore is whole');
  rmSync(target, { recursive: true, force: true });
  return signal !== null;
}

function backupOf(site: CrashSite, kind: SourceKind): string[] {
  const words = ['backup', site.source.path(kind), '--item', kind, '--json'];
  return kind === 'disk' ? [...words, '--disk'] : words;
}

function anyKind(site: CrashSite): SourceKind {
  return site.random.fraction() < 0.5 ? 'files' : 'disk';
}
