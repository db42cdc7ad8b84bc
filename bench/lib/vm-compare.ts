// The first backup of a guest, incremental ones, and the restore, by all tools in turn.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../../tests/guests/eventually.ts';
import type { GuestDisk, SiteGuest } from '../../tests/guests/site-guest.ts';
import { diskUse, type Measure, measure, medianOf, prepareCache } from './measure.ts';
import { CHANGED_MIB, removeCheckpoints, type VmLab } from './vm-lab.ts';
import type { VmTool } from './vm-tools.ts';

const MiB = 2 ** 20;
const ROUNDS = 3;

export async function compareTools(lab: VmLab, guest: SiteGuest): Promise<void> {
  for (const tool of lab.tools) {
    await fullBackup(lab, guest, tool);
    await incrementalBackups(lab, guest, tool);
  }
  await holdingStill(guest, async () => {
    await backUpLastState(lab, guest);
    for (const tool of lab.tools) await restored(lab, guest, tool);
  });
}

async function fullBackup(lab: VmLab, guest: SiteGuest, tool: VmTool): Promise<void> {
  const taken = await medianOf(lab.repeat, async () => {
    await removeCheckpoints(guest);
    await tool.begin();
    await warm(guest);
    tool.warmUp();
    return noted(lab, tool, await measure(tool.full(guest.name)));
  });
  lab.add('full', tool.name, taken, { storedMiB: storedMiB(tool) });
}

async function incrementalBackups(lab: VmLab, guest: SiteGuest, tool: VmTool): Promise<void> {
  const before = storedMiB(tool);
  let round = 0;
  const taken = await medianOf(ROUNDS, async () => {
    const file = `/data/vdb/${tool.name}-${round++}`;
    await guest.run(`dd if=/dev/urandom of=${file} bs=1M count=${CHANGED_MIB} && sync`);
    return noted(lab, tool, await measure(tool.incremental(guest.name)));
  });
  const addedMiB = (storedMiB(tool) - before) / ROUNDS;
  lab.add('incremental', tool.name, taken, { changedMiB: CHANGED_MIB, addedMiB });
}

/** A point of each tool of the same state, which the restored disks can be compared with. */
async function backUpLastState(lab: VmLab, guest: SiteGuest): Promise<void> {
  if (lab.peer) await measure(lab.peer.incremental(guest.name));
  await removeCheckpoints(guest);
  await measure(lab.coffer.full(guest.name, '--consistency', 'crash'));
}

async function restored(lab: VmLab, guest: SiteGuest, tool: VmTool): Promise<void> {
  let round = 0;
  const to = { name: '', folder: '' };
  const taken = await medianOf(lab.repeat, async () => {
    if (to.folder !== '') rmSync(to.folder, { recursive: true });
    to.name = `${guest.name}-${tool.name}-${round++}`;
    to.folder = lab.site.makeFolder(join(tool.name, to.name));
    prepareCache('warm', tool.stored);
    tool.warmUp();
    return await measure(tool.restore(guest.name, to));
  });
  const disks = await guest.disks();
  const isEqual: boolean[] = [];
  for (const disk of disks) {
    isEqual.push(await hasContent(await tool.restoredDisk(disk, to), disk));
  }
  const allocatedMiB = diskUse(to.folder).allocatedBytes / MiB;
  lab.add('restore', tool.name, taken, {
    equal: isEqual.every(Boolean) ? 'yes' : 'NO',
    allocatedMiB,
  });
  rmSync(to.folder, { recursive: true });
}

/** A server that has written the disk may close it only after the restore has ended. */
async function hasContent(disk: GuestDisk, original: GuestDisk): Promise<boolean> {
  await eventually(`${disk.path} is closed`, () => !isLocked(disk));
  // The original is open in QEMU, which has written all of it before it paused.
  const formats = ['-f', disk.format, '-F', original.format];
  return succeeds('qemu-img', 'compare', '-q', '-U', ...formats, disk.path, original.path);
}

function isLocked({ path, format }: GuestDisk): boolean {
  return !succeeds('qemu-io', '-f', format, '-c', 'quit', path);
}

function succeeds(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function holdingStill(guest: SiteGuest, run: () => Promise<void>): Promise<void> {
  await guest.run('sync');
  await guest.suspend();
  await run();
  await guest.resume();
}

function noted(lab: VmLab, tool: VmTool, taken: Measure): Measure {
  if (tool === lab.coffer) lab.noteFreeze(taken);
  return taken;
}

/** Reads the images of a guest once, so that the next read comes from memory. */
async function warm(guest: SiteGuest): Promise<void> {
  const [first, ...others] = (await guest.disks()).map(({ path }) => path);
  prepareCache('warm', first!);
  for (const path of others) execFileSync('cat', [path], { stdio: 'ignore' });
}

function storedMiB(tool: VmTool): number {
  return diskUse(tool.stored).allocatedBytes / MiB;
}
