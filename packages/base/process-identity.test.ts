import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { type ProcessIdentity, systemProcesses } from './process-identity.ts';

const own = systemProcesses.own!;
const MODULE = new URL('process-identity.ts', import.meta.url).href;

/** A process that says who it is, and then waits until it is ended. */
async function startOther(
  before: readonly string[] = [],
): Promise<[ChildProcess, ProcessIdentity]> {
  const script = `
    const { systemProcesses } = await import('${MODULE}');
    process.stdout.write(JSON.stringify(systemProcesses.own));
    process.stdin.resume();`;
  const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
  const [program, ...args] = [...before, ...node, '--input-type=module', '-e', script];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  return [child, JSON.parse(said.toString()) as ProcessIdentity];
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.stdin!.end();
  child.kill('SIGKILL');
  await ended;
}

test('a process that runs has not ended; one that was killed has', async () => {
  assert.ok(!systemProcesses.hasEnded(own));
  const [child, identity] = await startOther();
  assert.equal(identity.processId, child.pid);
  assert.ok(!systemProcesses.hasEnded(identity));
  await end(child);
  assert.ok(systemProcesses.hasEnded(identity));
});

test('a number that is used again is another process', () => {
  assert.ok(systemProcesses.hasEnded({ ...own, startedAtTicks: own.startedAtTicks - 1 }));
});

test('of another machine or another container of the same name, nothing is certain', () => {
  const unused = { ...own, processId: 2 ** 30 };
  assert.ok(systemProcesses.hasEnded(unused));
  assert.ok(!systemProcesses.hasEnded({ ...unused, bootId: 'another' }));
  assert.ok(!systemProcesses.hasEnded({ ...unused, pidNamespace: 'pid:[1]' }));
});

test('a process in a PID namespace of its own says so', async () => {
  const [child, identity] = await startOther(['unshare', '--pid', '--fork', '--kill-child']);
  assert.equal(identity.bootId, own.bootId);
  assert.notEqual(identity.pidNamespace, own.pidNamespace);
  assert.ok(!systemProcesses.hasEnded(identity));
  await end(child);
});
