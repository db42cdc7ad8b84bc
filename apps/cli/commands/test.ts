/** `coffer test`: whether the machine of a point boots. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { CofferError } from '@coffer/base';
import { bootTest, type BootTestResult } from '@coffer/flows/machine/boot-test.ts';
import { BootTestRequest, parseRequest } from '@coffer/flows/request.ts';
import { exitCodeOf } from '../failures/failures.ts';
import { openVmHost } from '../libvirt/compose.ts';
import { formatDuration, printLine, printResult } from '../output.ts';
import { splitPointPath } from '../point-path.ts';
import { printable } from '../printable.ts';
import { parseSeconds } from '../quantities.ts';
import { withBar } from '../progress.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import { type GlobalOptions, stateFolder } from '../settings.ts';

export interface TestCommandOptions extends GlobalOptions {
  readonly connect: string;
  readonly timeout: string;
  readonly still: string;
  readonly run?: string;
  readonly screenshot?: string;
}

export async function runTest(source: string, options: TestCommandOptions): Promise<void> {
  const { name: point, disk } = splitPointPath(source);
  if (disk !== undefined) throw new CofferError('usage', { reason: 'machines are tested whole' });
  const request = parseRequest(BootTestRequest, {
    point,
    connect: options.connect,
    timeoutMs: parseSeconds(options.timeout, '--timeout'),
    stillMs: parseSeconds(options.still, '--still'),
    command: options.run,
  });
  await using host = await openVmHost(request.connect);
  const result = await withUnlocked(options, async (repository) => {
    const tested = { ...request, repository, point: await namedPoint(repository, point), host };
    return await withBar(options, (run) => bootTest(run, tested));
  });
  const screenshot = keepScreenshot(result, options);
  const { screenshot: _bytes, ...told } = result;
  printResult(options, { ...told, screenshot }, () => printTest(result, screenshot));
  if (!result.passed) process.exitCode = exitCodeOf('boot-test-failed');
}

/** Returns its path, where there is one. */
function keepScreenshot(
  { screenshot, point }: BootTestResult,
  options: TestCommandOptions,
): string | undefined {
  if (!screenshot) return undefined;
  const path = resolve(options.screenshot ?? join(stateFolder(), 'screenshots', `${point}.png`));
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, screenshot, { mode: 0o600 });
  return path;
}

const TOLD: Readonly<Record<BootTestResult['verdict'], string>> = {
  'agent-answers': 'boots: its agent answers',
  'command-passed': 'boots, and the command in it ended well',
  'screen-still': 'boots to a screen that does not change any more: look at it',
  'command-failed': 'boots, but the command in it FAILED',
  timeout: 'does NOT boot within the time',
  stopped: 'does NOT boot: it stopped',
  'nothing-to-judge': 'cannot be judged: it has neither a guest agent nor a screen',
};

function printTest(result: BootTestResult, screenshot: string | undefined): void {
  const { vm, point, verdict, durationMs, exitCode, output } = result;
  printLine(`${printable(vm)} ${TOLD[verdict]} (${formatDuration(durationMs)}, point ${point})`);
  if (exitCode !== undefined) printLine(`exit code ${exitCode}`);
  if (output) printLine(printable(output.trimEnd()));
  if (screenshot !== undefined) printLine(`screen: ${screenshot}`);
}
