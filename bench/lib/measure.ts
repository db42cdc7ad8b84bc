// Runs one command and measures it: wall time, processor time, and memory of its process tree.
//
// Processor time comes from the shell's `times`, which counts all children that ended. Memory is
// sampled from /proc every 50 ms and summed over the command's process group, so a short peak may
// be missed. RssFile counts mapped files (page cache), which the kernel takes back when it needs
// to; RssAnon is what the command really holds.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';

const SAMPLE_INTERVAL_MS = 50;
const OUTPUT_LENGTH_MAX = 1 << 20;

/** Descriptor 3 carries the processor times, so that the command keeps its own three. */
const TIMED = '"$@"; code=$?; times >&3; exit $code';

export type CacheState = 'warm' | 'cold';

export interface Command {
  argv: string[];
  env?: Record<string, string>;
  cwd?: string;
  /** Codes that are no failure, for a command that ends with more than 0; default: 0. */
  exitCodes?: number[];
}

export interface Measure {
  wallSeconds: number;
  cpuSeconds: number;
  /** Time for what was left in the page cache to reach the disk after the command ended. */
  syncSeconds: number;
  rssMaxMiB: number;
  rssAnonMaxMiB: number;
  rssFileMaxMiB: number;
  /** One-minute load average of the machine before the run: what else was running. */
  loadBefore: number;
  stdout: string;
}

/** The process groups of the commands that run. */
const running = new Set<number>();
let hasEnded = false;

/** Kills the commands that run, and lets none begin: for a benchmark that is interrupted. */
export function endMeasuring(): void {
  hasEnded = true;
  for (const groupId of running) {
    try {
      process.kill(-groupId, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }
}

/** Runs a command to its end; throws with its output when it fails. */
export async function measure(command: Command): Promise<Measure> {
  if (hasEnded) throw new Error('the benchmark was interrupted');
  execFileSync('sync');
  const loadBefore = loadavg()[0]!;
  const started = performance.now();
  const child = spawn('sh', ['-c', TIMED, 'sh', ...command.argv], {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    detached: true, // Its own process group, whose members are the tree to sample.
  });
  running.add(child.pid!);
  const outputs = [child.stdout, child.stderr, child.stdio[3]].map((stream) => collect(stream));
  const memory = sampleMemory(child.pid!);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  const wallSeconds = (performance.now() - started) / 1000;
  running.delete(child.pid!);
  const peak = memory.stop();
  const [stdout, stderr, times] = await Promise.all(outputs);
  const { exitCodes = [0] } = command;
  if (code === null || !exitCodes.includes(code)) {
    throw new Error(`${command.argv.join(' ')}: exit ${code}\n${stdout}\n${stderr}`);
  }
  const syncStarted = performance.now();
  execFileSync('sync');
  return {
    wallSeconds,
    cpuSeconds: childSeconds(times!),
    syncSeconds: (performance.now() - syncStarted) / 1000,
    ...peak,
    loadBefore,
    stdout: stdout!,
  };
}

/** Runs the same measure several times and keeps the one of median wall time. */
export async function medianOf(count: number, run: () => Promise<Measure>): Promise<Measure> {
  const measures: Measure[] = [];
  for (let index = 0; index < count; index++) measures.push(await run());
  measures.sort((a, b) => a.wallSeconds - b.wallSeconds);
  return measures[Math.floor((count - 1) / 2)]!;
}

/** Drops the page cache (root only) so that the next reads come from the disk. */
function dropCaches(): void {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/**
 * Brings what will be read into memory, or everything out of it. Both begin with an empty page
 * cache: a full one makes writes wait until the kernel has freed pages, twice as long at worst.
 */
export function prepareCache(state: CacheState, input: string): void {
  if (canDropCaches()) dropCaches();
  if (state === 'warm') warm(input);
}

export function canDropCaches(): boolean {
  return process.getuid?.() === 0;
}

/** Reads a file or a tree once, so that the next reads come from memory. */
function warm(path: string): void {
  execFileSync('sh', ['-c', 'find "$1" -type f -exec cat {} + > /dev/null', 'sh', path]);
}

export interface DiskUse {
  allocatedBytes: number;
  apparentBytes: number;
}

export function diskUse(path: string): DiskUse {
  const du = (...flags: string[]) =>
    Number(execFileSync('du', ['-s', ...flags, path], { encoding: 'utf8' }).split('\t')[0]);
  return { allocatedBytes: du('-B1'), apparentBytes: du('-B1', '--apparent-size') };
}

/** The last part of what a stream gives. */
async function collect(stream: unknown): Promise<string> {
  let text = '';
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    text = (text + chunk.toString()).slice(-OUTPUT_LENGTH_MAX);
  }
  return text;
}

/** User and system seconds of the children: the second line that `times` prints. */
function childSeconds(times: string): number {
  const parts = [...(times.trim().split('\n')[1] ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
  return parts.reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds),
    0,
  );
}

type Peak = Pick<Measure, 'rssMaxMiB' | 'rssAnonMaxMiB' | 'rssFileMaxMiB'>;

function sampleMemory(groupId: number): { stop(): Peak } {
  const peak: Peak = { rssMaxMiB: 0, rssAnonMaxMiB: 0, rssFileMaxMiB: 0 };
  const timer = setInterval(() => {
    const pids = membersOf(groupId).filter((pid) => pid !== groupId); // Without the shell.
    const sums = pids
      .map(memoryOf)
      .reduce((sum, one) => ({ anon: sum.anon + one.anon, file: sum.file + one.file }), {
        anon: 0,
        file: 0,
      });
    peak.rssMaxMiB = Math.max(peak.rssMaxMiB, (sums.anon + sums.file) / 1024);
    peak.rssAnonMaxMiB = Math.max(peak.rssAnonMaxMiB, sums.anon / 1024);
    peak.rssFileMaxMiB = Math.max(peak.rssFileMaxMiB, sums.file / 1024);
  }, SAMPLE_INTERVAL_MS);
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}

function membersOf(groupId: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      // proc(5): the fields after the name in parentheses are state, parent, process group.
      const stat = readProc(`/proc/${pid}/stat`);
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) === groupId;
    });
}

/** Resident memory in KiB; shared memory counts as anonymous, since nothing can take it back. */
function memoryOf(pid: number): { anon: number; file: number } {
  const status = readProc(`/proc/${pid}/status`);
  const field = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  return { anon: field('RssAnon') + field('RssShmem'), file: field('RssFile') };
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // The process ended in between.
  }
}
