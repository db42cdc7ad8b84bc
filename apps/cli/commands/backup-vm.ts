/** `coffer backup vm:NAME...` and `coffer check vm:NAME...`. */
import { CofferError } from '@coffer/base';
import type { VmResult } from '@coffer/flows/backup/vms.ts';
import { checkPointLabels } from '@coffer/repository';
import { findVmsNamed, type VmOptions } from '../libvirt/compose.ts';
import { isVmName } from '../libvirt/vm-name.ts';
import {
  documentOf,
  formatBytes,
  formatDuration,
  printLine,
  printResult,
  reportFindings,
} from '../output.ts';
import { printable } from '../printable.ts';
import { withBar } from '../progress.ts';
import { withUnlocked } from '../session.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';
import { parseTags } from '../tags.ts';
import { ensureEmbeddedRepository } from './init.ts';

export interface VmBackupCommandOptions extends GlobalOptions, VmOptions {
  readonly item?: string;
  readonly tag: readonly string[];
  /** What is stored is read back. */
  readonly verify?: boolean;
  /** Also what guests have swapped out. */
  readonly includeSwap?: boolean;
  /** All machines at one moment. */
  readonly together?: boolean;
}

export async function runBackupVms(
  names: readonly string[],
  options: VmBackupCommandOptions,
): Promise<void> {
  await run(names, options, { checks: false });
}

export async function runCheck(
  names: readonly string[],
  options: VmBackupCommandOptions,
): Promise<void> {
  const other = names.find((name) => !isVmName(name));
  if (other !== undefined) throw new CofferError('usage', { name: other, expected: 'vm:NAME' });
  await run(names, options, { checks: true });
}

async function run(
  names: readonly string[],
  options: VmBackupCommandOptions,
  { checks }: { readonly checks: boolean },
): Promise<void> {
  if (options.item !== undefined && names.length > 1) {
    throw new CofferError('usage', { reason: '--item is for one machine' });
  }
  const groups = options.together ? [names] : names.map((name) => [name]);
  const results: VmResult[] = [];
  for (const group of groups) results.push(...(await backUpGroup(group, options, checks)));
  const documents = results.map(documentOf);
  printResult(options, names.length === 1 ? documents[0] : documents, () => {
    for (const result of results) printVm(result, checks);
  });
  reportFindings(
    options,
    results.flatMap(({ findings }) => findings),
  );
}

async function backUpGroup(
  names: readonly string[],
  options: VmBackupCommandOptions,
  checks: boolean,
): Promise<VmResult[]> {
  const tags = parseTags(options.tag);
  checkPointLabels({ item: options.item ?? 'vm', tags });
  const finding = findVmsNamed(names, options);
  finding.catch(() => {
    // Told where it is awaited; meanwhile the repository is opened.
  });
  // Who has nothing to back up needs no new repository, either.
  if (chooseRepository(options).isEmbedded) await finding;
  await ensureEmbeddedRepository(options);
  // Loaded while the key is derived.
  const flow = import('@coffer/flows/backup/vms.ts');
  try {
    return await withUnlocked(options, async (repository) => {
      const { backupVms } = await flow;
      const found = await finding;
      return await withBar(options, (run) =>
        backupVms(run, {
          repository,
          sources: found.sources,
          capture: found.capture,
          item: options.item,
          tags,
          readsBack: options.verify,
          checks,
          // Memory without what was swapped out of it would be none.
          readsSwap: (options.includeSwap ?? false) || (options.memory ?? false),
        }),
      );
    });
  } finally {
    const found = await finding.catch(() => undefined);
    await found?.[Symbol.asyncDispose]();
  }
}

function printVm(result: VmResult, checked: boolean): void {
  const { point, item, bytesSource, bytesRead, bytesStored, durationMs, consistency } = result;
  printLine(`Made point ${point} of ${printable(item)} in ${formatDuration(durationMs)}`);
  const { level, reason, frozenMs } = consistency;
  const frozen = frozenMs > 0 ? `, frozen for ${frozenMs} ms` : '';
  const why = reason === undefined ? '' : ` (${printable(reason)})`;
  printLine(level === 'off' ? 'the machine is off' : `${level}-consistent${why}${frozen}`);
  for (const { name, mode, reason: whole } of result.disks) {
    if (mode === 'whole' && !checked) printLine(`${name} was read whole: ${whole ?? ''}`);
  }
  for (const { name, reason: out } of result.excluded) printLine(`${name} was left out: ${out}`);
  if (result.memoryBytes !== undefined) {
    printLine(`with its memory, ${formatBytes(result.memoryBytes)}`);
  }
  for (const { disk, area, bytes } of result.swap) {
    printLine(`${formatBytes(bytes)} of swap on ${disk} (${printable(area)}) were left out`);
  }
  const source = `source ${formatBytes(bytesSource)}`;
  printLine(`${source}, read ${formatBytes(bytesRead)}, stored ${formatBytes(bytesStored)}`);
}
