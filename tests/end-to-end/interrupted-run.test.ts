// However a run of tests is interrupted: nothing that it has started or mounted stays.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { eventually } from '../guests/eventually.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const ALL_THAT_RUNS = 'tests/end-to-end/testing/all-that-runs.ts';
/** What has to be seen before it can be seen to be gone. */
const SERVERS = ['radosgw', 'ceph-mon', 'ceph-osd', 'azurite', 'nbdkit', 'qemu-nbd'];
const MACHINES = ['libvirtd', 'guest=web', 'guest=now', 'instant keep', 'instant serve'];

/** A run of `npm test`, in a process group of its own, as a shell starts it. */
class Run {
  readonly #parent = mkdtempSync(join(tmpdir(), 'run-'));
  readonly #child = spawn('sh', ['scripts/test.sh', ALL_THAT_RUNS], {
    cwd: ROOT,
    env: { ...withoutRunnerContext(process.env), TMPDIR: this.#parent },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  #said = '';
  #site = '';

  get pid(): number {
    return this.#child.pid!;
  }

  async begun(): Promise<void> {
    this.#child.stdout.on('data', (piece: Buffer) => (this.#said += piece.toString()));
    const path = join(this.#parent, 'runs');
    await eventually('everything runs', () => {
      assert.equal(this.#child.exitCode, null, this.#said);
      return existsSync(path);
    });
    this.#site = readFileSync(path, 'utf8');
    rmSync(path);
    const running = this.processes().join('\n');
    for (const program of [...SERVERS, ...MACHINES, 'main.ts mount']) {
      assert.ok(running.includes(program), `${program}\n${running}`);
    }
    assert.equal(this.mounts().length, 2);
  }

  /** Command lines of those that have to do with it. */
  processes(): string[] {
    return readdirSync('/proc')
      .filter(
        (name) =>
          /^\d+$/.test(name) && this.#isNamed(`${read(name, 'environ')}\0${read(name, 'cmdline')}`),
      )
      .map((name) => read(name, 'cmdline').replaceAll('\0', ' '))
      .filter((line) => line !== '');
  }

  mounts(): string[] {
    return readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => this.#isNamed(line));
  }

  loopDevices(): string[] {
    const list = execFileSync('/sbin/losetup', ['-l', '-n', '-O', 'BACK-FILE']).toString();
    return list.split('\n').filter((line) => this.#isNamed(line));
  }

  async nothingIsLeft(): Promise<void> {
    await eventually('its processes have ended', () => this.processes().length === 0);
    await eventually('its files are gone', () => readdirSync(this.#parent).length === 0);
    await eventually('its site is gone', () => !existsSync(this.#site));
    assert.deepEqual([this.mounts(), this.loopDevices()], [[], []]);
    rmdirSync(this.#parent);
  }

  #isNamed(text: string): boolean {
    return text.includes(this.#parent) || (this.#site !== '' && text.includes(this.#site));
  }
}

function read(pid: string, name: 'environ' | 'cmdline'): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    // It has ended.
    return '';
  }
}

/** A runner that finds itself inside of another one does not run its files. */
function withoutRunnerContext({ NODE_TEST_CONTEXT: _, ...rest }: NodeJS.ProcessEnv) {
  return rest;
}

describe('a run of tests that is interrupted leaves no process and no mount', () => {
  const ways: Readonly<Record<string, (pid: number) => void>> = {
    'by the key for it': (pid) => process.kill(-pid, 'SIGINT'),
    'by the end of its shell': (pid) => process.kill(pid, 'SIGTERM'),
    'by the death of the whole process group': (pid) => process.kill(-pid, 'SIGKILL'),
  };
  for (const [way, interrupt] of Object.entries(ways)) {
    test(way, async () => {
      const run = new Run();
      await run.begun();
      interrupt(run.pid);
      await run.nothingIsLeft();
    });
  }
});
