/** Runs the real `./coffer` and kills it at some moment. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, type FSWatcher, readdirSync, watch } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Random } from '@coffer/base';

const COFFER = resolve(import.meta.dirname, '../../coffer');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
  /** How often something happened in the folders that were watched. */
  readonly eventCount: number;
}

/** When to kill: so long after the start, or when so much has happened in the folders. */
export type KillAt = { readonly afterMs: number } | { readonly afterEvents: number } | 'never';

export interface RunOptions {
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly killAt: KillAt;
  /** A repository, or the folder of a target. */
  readonly watched: string;
}

export async function runAndKill({ words, env, killAt, watched }: RunOptions): Promise<Ended> {
  const startedAt = performance.now();
  const child = spawn(COFFER, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  let eventCount = 0;
  const watchers = watchFolders(watched, () => {
    eventCount++;
    if (killAt !== 'never' && 'afterEvents' in killAt && eventCount >= killAt.afterEvents) kill();
  });
  const timer =
    killAt !== 'never' && 'afterMs' in killAt ? setTimeout(kill, killAt.afterMs) : undefined;
  try {
    const outcome = await outcomeOf(child);
    return { ...outcome, durationMs: performance.now() - startedAt, eventCount };
  } finally {
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  }
}

/** Each put shows in `.tmp`; deletions show where they happen. */
function watchFolders(root: string, onEvent: () => void): FSWatcher[] {
  const folders = ['', '.tmp', 'sessions', 'gc', 'index', 'points', ...below(root, 'points')];
  return folders
    .map((name) => join(root, name))
    .filter((path) => existsSync(path))
    .map((path) => watch(path, onEvent));
}

function below(root: string, name: string): string[] {
  const folder = join(root, name);
  return existsSync(folder) ? readdirSync(folder).map((each) => join(name, each)) : [];
}

async function outcomeOf(
  child: ChildProcess,
): Promise<Pick<Ended, 'code' | 'signal' | 'stdout' | 'stderr'>> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Learns how long a command takes, and chooses moments within that. */
export class KillTimes {
  readonly #random: Random;
  readonly #known = new Map<string, { durationMs: number; eventCount: number }>();

  constructor(random: Random) {
    this.#random = random;
  }

  learn(command: string, { durationMs, eventCount }: Ended): void {
    const known = this.#known.get(command);
    this.#known.set(command, {
      durationMs: known ? (known.durationMs * 3 + durationMs) / 4 : durationMs,
      eventCount: known ? (known.eventCount * 3 + eventCount) / 4 : eventCount,
    });
  }

  /** Half of the time by what happens in the store: most of a short run is the start of Node. */
  choose(command: string): KillAt {
    const { durationMs, eventCount } = this.#known.get(command) ?? FIRST_GUESS;
    if (this.#random.fraction() < 0.5) {
      return { afterMs: Math.floor((0.2 + 0.8 * this.#random.fraction()) * durationMs) };
    }
    return { afterEvents: 1 + Math.floor(this.#random.fraction() * eventCount) };
  }
}

const FIRST_GUESS = { durationMs: 500, eventCount: 10 };
