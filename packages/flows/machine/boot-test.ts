/**
 * Boots a point of a virtual machine to see that it does: from an overlay, reaching nothing, and
 * leaving nothing. The proof that a backup is good is a guest that answers.
 */
import { existsSync, globSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type CofferError, isCofferError, newUuid, type RunContext, tellPhase } from '@coffer/base';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { Picture, VmHost, VmTrial } from '@coffer/workloads/vm-host.ts';
import { isServed } from './served.ts';
import { createOverlays, planOverlays, serveDisks } from './served-disks.ts';
import { placesOf, planFiles, restoreFiles } from './machine-files.ts';
import { vmOf } from './machine-point.ts';

/** For overlays and a socket, whose path must be short. */
const RUN_FOLDER = '/var/tmp/coffer-test-';
/** Of a machine on trial: names are in paths of libvirt's sockets. */
const NAME = 'coffer-';
const UUID_LENGTH = 8;

const POLL_MS = 200;
const SCREEN_POLL_MS = 2000;
/** A cursor blinks, and a clock ticks, on a screen that is as it will stay. */
const CURSOR_PART = 0.002;

export interface BootTestOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  /** For the guest to answer, or for its screen to stop changing. */
  readonly timeoutMs: number;
  /** How long a screen has to be the same, of a guest without an agent. */
  readonly stillMs: number;
  /** A command of the shell that has to end well in the guest. */
  readonly command?: string | undefined;
}

export type Verdict =
  /** The agent in the guest answers. */
  | 'agent-answers'
  /** A command in the guest ended well. */
  | 'command-passed'
  /** The screen does not change any more: somebody should look at it. */
  | 'screen-still'
  | 'command-failed'
  /** Nothing of it within the time. */
  | 'timeout'
  /** The machine stopped. */
  | 'stopped'
  /** It has neither an agent nor a screen. */
  | 'nothing-to-judge';

const PASSED: ReadonlySet<Verdict> = new Set(['agent-answers', 'command-passed', 'screen-still']);

export interface BootTestResult {
  readonly point: string;
  readonly vm: string;
  readonly passed: boolean;
  readonly verdict: Verdict;
  /** From the start of the machine to the verdict. */
  readonly durationMs: number;
  /** Of the command. */
  readonly exitCode: number | undefined;
  readonly output: string | undefined;
  /** As PNG, where the machine has a screen. */
  readonly screenshot: Buffer | undefined;
}

/** Served as long as the test runs. */
function socketIn(folder: string): string {
  return join(folder, 'nbd');
}

/** Fails with `kind-mismatch` and what the host says; a guest that does not boot is a result. */
export async function bootTest(run: RunContext, options: BootTestOptions): Promise<BootTestResult> {
  const { point, host } = options;
  await removeDeadTrials();
  const uuid = newUuid(run.random);
  const short = uuid.slice(0, UUID_LENGTH);
  const [name, folder] = [NAME + short, RUN_FOLDER + short];
  const repository = options.repository.during(run);
  const vm = vmOf(repository, point);
  await using scope = new AsyncDisposableStack();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  scope.defer(() => rmSync(folder, { recursive: true, force: true }));
  await host.giveFiles([folder]);
  const planned = planFiles(vm, { name, uuid, folder, format: 'qcow2' });
  const files = planned.files.filter(({ oldPath }) => oldPath !== undefined);
  tellPhase(run, 'restore-files');
  await restoreFiles(run, { repository, point }, files);
  // A TPM keeps its state where libvirt wants it, outside of the folder.
  scope.defer(() => files.forEach(({ path }) => rmSync(path, { force: true })));
  const socketPath = socketIn(folder);
  const overlays = planOverlays(vm, { folder, name });
  const damage: CofferError[] = [];
  const onError = (error: CofferError): void => void damage.push(error);
  const disks = [...overlays.keys()];
  scope.use(await serveDisks({ repository, point, disks, socketPath, onError }));
  await host.giveFiles([socketPath]);
  await createOverlays(overlays, { point, socketPath });
  const places = { disks: overlays, files: placesOf(files).files };
  const trial = scope.use(await host.startTrial({ xml: vm.xml, name, uuid, ...places }));
  tellPhase(run, 'boot-guest', vm.name);
  const result = await judge(run, options, trial);
  // A chunk that is lost says more than that the guest does not boot.
  const [first] = damage;
  if (!result.passed && first) throw first;
  return { point: point.id, vm: vm.name, ...result };
}

/** What runs that were killed have left: folders whose socket nobody serves. */
async function removeDeadTrials(): Promise<void> {
  for (const folder of globSync(`${RUN_FOLDER}*`)) {
    const socketPath = socketIn(folder);
    if (existsSync(socketPath) && !(await isServed(socketPath))) {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

type Judgement = Omit<BootTestResult, 'point' | 'vm'>;

async function judge(
  run: RunContext,
  options: BootTestOptions,
  trial: VmTrial,
): Promise<Judgement> {
  const { clock } = run;
  const startedAt = clock.now();
  const { verdict, exitCode, output } = await verdictOf(run, options, {
    trial,
    giveUpAt: startedAt + options.timeoutMs,
  });
  const durationMs = clock.now() - startedAt;
  const screenshot = (await pictureOf(trial))?.toPng();
  return { passed: PASSED.has(verdict), verdict, durationMs, exitCode, output, screenshot };
}

interface Outcome {
  readonly verdict: Verdict;
  readonly exitCode?: number | undefined;
  readonly output?: string;
}

interface Judged {
  readonly trial: VmTrial;
  readonly giveUpAt: number;
}

async function verdictOf(
  run: RunContext,
  options: BootTestOptions,
  judged: Judged,
): Promise<Outcome> {
  if (judged.trial.hasAgent) return await askAgent(run, options, judged);
  if (judged.trial.hasScreen) return await watchScreen(run, options, judged);
  return { verdict: 'nothing-to-judge' };
}

async function askAgent(
  run: RunContext,
  { command }: BootTestOptions,
  { trial, giveUpAt }: Judged,
): Promise<Outcome> {
  const { clock, signal } = run;
  while (!(await trial.isAnswering())) {
    if (!(await trial.isRunning())) return { verdict: 'stopped' };
    if (clock.now() > giveUpAt) return { verdict: 'timeout' };
    await clock.sleep(POLL_MS, signal);
  }
  if (command === undefined) return { verdict: 'agent-answers' };
  const ran = await trial.run(run, command, Math.max(POLL_MS, giveUpAt - clock.now()));
  if (!ran) return { verdict: 'timeout' };
  return { verdict: ran.exitCode === 0 ? 'command-passed' : 'command-failed', ...ran };
}

async function watchScreen(
  { clock, signal }: RunContext,
  { stillMs }: BootTestOptions,
  { trial, giveUpAt }: Judged,
): Promise<Outcome> {
  let last: Picture | undefined;
  let sameSince = clock.now();
  for (;;) {
    const picture = await pictureOf(trial);
    if (!picture || !(await trial.isRunning())) return { verdict: 'stopped' };
    if (!last || picture.changedPart(last) > CURSOR_PART) {
      last = picture;
      sameSince = clock.now();
    }
    if (clock.now() - sameSince >= stillMs) return { verdict: 'screen-still' };
    if (clock.now() > giveUpAt) return { verdict: 'timeout' };
    await clock.sleep(SCREEN_POLL_MS, signal);
  }
}

/** Undefined where there is no screen, or no machine any more. */
async function pictureOf(trial: VmTrial): Promise<Picture | undefined> {
  if (!trial.hasScreen) return undefined;
  try {
    return await trial.screen();
  } catch (error) {
    if (isCofferError(error)) return undefined;
    throw error;
  }
}
