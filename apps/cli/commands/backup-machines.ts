/** `coffer backup vm:NAME...` and `coffer check vm:NAME...`. */
import { resolve } from 'node:path';
import { assert, CofferError } from '@coffer/base';
import type { VmResult } from '@coffer/flows/backup/vms.ts';
import { captureChoicesOf, groupsOf, readsSwapFor } from '@coffer/flows/backup/machine-choices.ts';
import { BackupRequest, type BackupRequestOf, parseRequest } from '@coffer/flows/request.ts';
import { checkPointLabels } from '@coffer/repository';
import { findMachines } from '../libvirt/compose.ts';
import { isVmName, vmNameOf } from '../libvirt/vm-name.ts';
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
import { parseBytes, parseSeconds } from '../quantities.ts';
import { withWriter } from '../session.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';
import { parseTags } from '../tags.ts';
import { ensureEmbeddedRepository } from './init.ts';

export interface VmBackupCommandOptions extends GlobalOptions {
  readonly connect: string;
  readonly consistency: string;
  readonly pause?: boolean;
  /** Of machines that run. */
  readonly memory?: boolean;
  readonly excludeDisk: readonly string[];
  readonly scratch?: string;
  readonly scratchLimit?: string;
  /** In seconds. */
  readonly wait: string;
  readonly item?: string;
  readonly tag: readonly string[];
  /** What is stored is read back. */
  readonly verify?: boolean;
  /** Also what guests have swapped out. */
  readonly includeSwap?: boolean;
  /** All machines at one moment. */
  readonly together?: boolean;
}

type MachinesRequest = BackupRequestOf<'machines'>;

export async function runBackupMachines(
  names: readonly string[],
  options: VmBackupCommandOptions,
): Promise<void> {
  await run(machinesRequestOf(names, options, { checks: false }), options);
}

export async function runCheck(
  names: readonly string[],
  options: VmBackupCommandOptions,
): Promise<void> {
  const other = names.find((name) => !isVmName(name));
  if (other !== undefined) throw new CofferError('usage', { name: other, expected: 'vm:NAME' });
  await run(machinesRequestOf(names, options, { checks: true }), options);
}

/** Fails with `usage`. */
export function machinesRequestOf(
  names: readonly string[],
  options: VmBackupCommandOptions,
  { checks }: { readonly checks: boolean },
): MachinesRequest {
  const { connect, item, together, memory, scratch } = options;
  const request = parseRequest(BackupRequest, {
    kind: 'machines',
    connect,
    names: names.map(vmNameOf),
    item,
    tags: parseTags(options.tag),
    together,
    consistency: consistencyOf(options.consistency),
    pauses: options.pause,
    memory,
    excludedDisks: options.excludeDisk,
    scratchFolder: scratch === undefined ? undefined : resolve(scratch),
    scratchBytesMax: parseBytes(options.scratchLimit, '--scratch-limit'),
    waitMs: parseSeconds(options.wait, '--wait'),
    checks,
    readsSwap: options.includeSwap,
    readsBack: options.verify,
  });
  assert(request.kind === 'machines', 'a request is of the kind that was asked for');
  return request;
}

const CONSISTENCIES: Readonly<Record<string, string>> = {
  app: 'application',
  file: 'file-system',
};

function consistencyOf(name: string): string {
  return CONSISTENCIES[name] ?? name;
}

async function run(request: MachinesRequest, options: VmBackupCommandOptions): Promise<void> {
  const { names, checks } = request;
  const results: VmResult[] = [];
  for (const group of groupsOf(request)) results.push(...(await backUpGroup(group, options)));
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
  request: MachinesRequest,
  options: VmBackupCommandOptions,
): Promise<VmResult[]> {
  const { connect, names, item, tags } = request;
  checkPointLabels({ item: item ?? 'vm', tags });
  const finding = findMachines(connect, names, captureChoicesOf(request));
  finding.catch(() => {
    // Told where it is awaited; meanwhile the repository is opened.
  });
  // Who has nothing to back up needs no new repository, either.
  if (chooseRepository(options).isEmbedded) await finding;
  await ensureEmbeddedRepository(options);
  // Loaded while the key is derived.
  const flow = import('@coffer/flows/backup/vms.ts');
  try {
    return await withWriter(options, async (repository) => {
      const { backupVms } = await flow;
      const { machines, capture } = await finding;
      const sources = machines.map(({ name, uuid }) => {
        return { name, uuid, path: `${connect} ${name}` };
      });
      return await withBar(options, (run) =>
        backupVms(run, {
          ...request,
          readsSwap: readsSwapFor(request),
          repository,
          sources,
          capture,
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
