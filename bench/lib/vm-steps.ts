// What Coffer alone is measured by: instant restores, disks of any size, writes meanwhile, freezes.
import { execFileSync } from 'node:child_process';
import { eventually } from '../../tests/guests/eventually.ts';
import { SiteGuest } from '../../tests/guests/site-guest.ts';
import { type Measure, measure, medianOf, prepareCache } from './measure.ts';
import { CHANGED_MIB, type VmLab } from './vm-lab.ts';
import { type WriteLatency, writeLatency } from './write-latency.ts';

const ROUNDS = 3;
const LIMIT_MIB = 5;
const WRITING_SECONDS = 20;
/** New to the repository, so that a backup at the limit takes twice as long as the writing. */
const OVERWRITTEN_MIB = 2 * WRITING_SECONDS * LIMIT_MIB;
const OVERWRITTEN = '/data/vdb/overwritten';

/** From the command to the agent's answer: a start of the guest, and one from its newest point. */
export async function instantRestores(lab: VmLab, guest: SiteGuest): Promise<void> {
  const starts: number[] = [];
  const answers: number[] = [];
  const folder = lab.site.makeFolder('instant');
  let round = 0;
  await guest.destroy();
  const taken = await medianOf(ROUNDS, async () => {
    starts.push(await startSeconds(guest));
    await guest.destroy();
    prepareCache('warm', lab.coffer.stored);
    lab.coffer.warmUp();
    const to = { name: `instant-${round++}`, folder };
    const startedAt = performance.now();
    const restore = await measure(lab.coffer.restore(guest.name, to, '--instant'));
    // The guest boots while what the command has written reaches the disk.
    const machine = await SiteGuest.find(lab.site, to.name);
    await machine.waitForAgent();
    answers.push((performance.now() - startedAt) / 1000);
    await machine.close();
    lab.coffer.discardInstants();
    return restore;
  });
  await guest.start();
  const figures = { answerSeconds: median(answers), startSeconds: median(starts) };
  lab.add('instant restore', 'coffer', taken, figures);
}

async function startSeconds(guest: SiteGuest): Promise<number> {
  const disks = await guest.disks();
  prepareCache('warm', disks[0]!.path);
  const startedAt = performance.now();
  await guest.virsh('start', guest.name);
  await guest.reconnect();
  await guest.waitForAgent();
  return (performance.now() - startedAt) / 1000;
}

/** Incremental backups of a small and a huge disk in which the same was written. */
export async function diskSizes(lab: VmLab): Promise<void> {
  const small = await incrementalOf(lab, '1 GiB', 2 ** 10);
  const large = await incrementalOf(lab, '1 TiB', 2 ** 20);
  lab.add('incremental of 1 GiB', 'coffer', small, { changedMiB: CHANGED_MIB });
  const seconds = { smallSeconds: small.wallSeconds, largeSeconds: large.wallSeconds };
  lab.add('incremental of 1 TiB', 'coffer', large, { changedMiB: CHANGED_MIB, ...seconds });
}

async function incrementalOf(lab: VmLab, size: string, sizeMiB: number): Promise<Measure> {
  const name = `disk-${sizeMiB}`;
  const [root, data] = [lab.image(`${name}-root`), lab.image(`${name}-data`)];
  execFileSync('cp', [lab.image('bare'), root]);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', data, `${sizeMiB}M`]);
  const guest = await lab.start(name, [root, data]);
  const stepMiB = Math.floor(sizeMiB / CHANGED_MIB);
  const write = `for n in $(seq 0 ${CHANGED_MIB - 1}); do
    dd if=/dev/urandom of=/dev/vdb bs=1M count=1 seek=$((n * ${stepMiB})) conv=notrunc || exit 1
  done; sync`;
  await guest.run(write);
  await measure(lab.coffer.full(name));
  const taken = await medianOf(ROUNDS, async () => {
    await guest.run(write);
    const backup = await measure(lab.coffer.incremental(name));
    lab.noteFreeze(backup);
    return backup;
  });
  await guest.destroy();
  return taken;
}

/** How long writes take in a guest alone, and while its backup goes to a slow repository. */
export async function writesMeanwhile(lab: VmLab, guest: SiteGuest): Promise<void> {
  const fill = `dd if=/dev/urandom of=${OVERWRITTEN} bs=1M count=${OVERWRITTEN_MIB} && sync`;
  await guest.run(fill);
  const alone = await writeLatency(guest, OVERWRITTEN, WRITING_SECONDS);
  const backup = measure(lab.coffer.full(guest.name, '--limit-rate', `${LIMIT_MIB}M`));
  const [taken, writing] = await Promise.all([backup, writingWhileCaptured(guest)]);
  lab.noteFreeze(taken);
  if (!writing.isWithin) lab.report.notes.push('vm: the backup ended before the writing did');
  const figures = { undisturbedP50Ms: alone.p50Ms, undisturbedP99Ms: alone.p99Ms };
  lab.add('writes meanwhile', 'coffer', taken, {
    writes: writing.latency.writes,
    p50Ms: writing.latency.p50Ms,
    p99Ms: writing.latency.p99Ms,
    undisturbedWrites: alone.writes,
    ...figures,
  });
}

interface Writing {
  readonly latency: WriteLatency;
  /** The backup outlasted it. */
  readonly isWithin: boolean;
}

async function writingWhileCaptured(guest: SiteGuest): Promise<Writing> {
  const isCaptured = async (): Promise<boolean> => {
    try {
      return (await guest.connection.jobStats(guest.domain)).type === 'unbounded';
    } catch {
      // While a job begins, libvirt knows nothing of it yet and fails.
      return false;
    }
  };
  await eventually('the job begins', isCaptured);
  await eventually(
    'the guest is thawed',
    async () => (await guest.agent('guest-fsfreeze-status')) === 'thawed',
  );
  const latency = await writeLatency(guest, OVERWRITTEN, WRITING_SECONDS);
  return { latency, isWithin: await isCaptured() };
}

/** How long the guests were held still for all backups of the run. */
export function tellFreezes({ report, frozenMs }: VmLab): void {
  const sorted = frozenMs.toSorted((a, b) => a - b);
  const [least, most] = [sorted[0], sorted.at(-1)];
  report.notes.push(
    `vm: frozen for ${least} to ${most} ms, median ${median(sorted)} ms, in ${sorted.length} backups`,
  );
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
