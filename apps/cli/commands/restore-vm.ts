/** `coffer restore POINT --as NAME`: a machine of a point as a new one. */
import { resolve } from 'node:path';
import { CofferError } from '@coffer/base';
import { newProgress } from '@coffer/flows/progress.ts';
import { restoreVm } from '@coffer/flows/restore/vm.ts';
import { formatBytes, formatDuration, printLine, printResult, reportFindings } from '../output.ts';
import { splitPointPath } from '../point-path.ts';
import { showProgress } from '../progress.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withRepository } from '../session.ts';
import { openVmHost } from '../libvirt/compose.ts';
import type { RestoreCommandOptions } from './restore.ts';

export async function runRestoreVm(
  source: string,
  name: string,
  options: RestoreCommandOptions,
): Promise<void> {
  const { name: pointName } = splitPointPath(source);
  const { to } = options;
  if (to === undefined) {
    throw new CofferError('usage', { reason: '--as needs --to FOLDER for the images' });
  }
  const networks = new Map(options.network.map(parseNetwork));
  const vmHost = await openVmHost(options.connect, networks, options.keepIdentity ?? false);
  try {
    const result = await withRepository(options, 'required', async (repository) => {
      const point = await namedPoint(repository, pointName);
      const progress = newProgress();
      progress.bytesTotal = point.roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      return await showProgress(options, 'restore', progress, () =>
        restoreVm({
          repository,
          point,
          host: vmHost.host,
          name,
          folder: resolve(to),
          format: 'qcow2',
          progress,
          signal: interruptSignal,
        }),
      );
    });
    if (options.start) await vmHost.start(name);
    printResult(options, result, () => {
      const { uuid, bytesWritten, durationMs } = result;
      printLine(`Restored machine ${name} (${uuid}) in ${formatDuration(durationMs)}`);
      printLine(`wrote ${formatBytes(bytesWritten)}${options.start ? ', started' : ''}`);
    });
    reportFindings(options, result.findings);
  } finally {
    await vmHost.close();
  }
}

/** `OLD=NEW`. Fails with `usage`. */
function parseNetwork(mapping: string): [string, string] {
  const [, from, to] = /^([^=]+)=([^=]+)$/.exec(mapping) ?? [];
  if (from === undefined || to === undefined) {
    throw new CofferError('usage', { network: mapping, expected: 'OLD=NEW' });
  }
  return [from, to];
}
