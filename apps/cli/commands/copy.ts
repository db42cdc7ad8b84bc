/** `coffer copy`. */
import { CofferError } from '@coffer/base';
import {
  copyPoints,
  type CopyOptions,
  type CopyResult,
  type RecoveryPoint,
  type Repository,
  type WantedPoints,
} from '@coffer/repository';
import { formatBytes, printLine, printOutcome } from '../output.ts';
import { passphraseOfTarget, requiredPassphrase } from '../passphrase.ts';
import { withBar } from '../progress.ts';
import { namedPoint, withRepositoryAt } from '../session.ts';
import { absoluteLocation, type GlobalOptions } from '../settings.ts';

export interface CopyCommandOptions extends GlobalOptions {
  readonly from: string;
  readonly to: string;
  readonly item?: string;
  readonly point?: string;
  readonly toPassphraseFile?: string;
}

export async function runCopy(options: CopyCommandOptions): Promise<void> {
  const [from, to] = [absoluteLocation(options.from), absoluteLocation(options.to)];
  if (from === to) throw new CofferError('usage', { reason: '--from and --to are the same' });
  const result = await withRepositoryAt(from, options, (source) =>
    withRepositoryAt(to, options, (target) => copy(options, source, target)),
  );
  printOutcome(options, { from, to, ...result }, () => printSummary(result, to));
}

async function copy(
  options: CopyCommandOptions,
  source: Repository,
  target: Repository,
): Promise<CopyResult> {
  const wanted = await wantedBy(options, source);
  const both = source.sharesKeysWith(target)
    ? { source, target }
    : await unlockBoth(options, source, target);
  return await withBar(options, (run) =>
    copyPoints({
      source: both.source.during(run),
      target: both.target.during(run),
      ...wanted,
    }),
  );
}

/** With other keys, all is opened and sealed anew. */
async function unlockBoth(
  options: CopyCommandOptions,
  source: Repository,
  target: Repository,
): Promise<Pick<CopyOptions, 'source' | 'target'>> {
  const passphrase = await requiredPassphrase({ ...options, repo: options.from });
  return {
    source: await source.unlock(passphrase),
    target: await target.unlock(passphraseOfTarget(options.toPassphraseFile) ?? passphrase),
  };
}

/** Fails with `point-not-found` or `item-not-found`, which an empty copy would hide. */
async function wantedBy(
  { item, point }: CopyCommandOptions,
  source: Repository,
): Promise<WantedPoints> {
  const isOfItem = (each: RecoveryPoint): boolean => item === undefined || each.item === item;
  const named = point === undefined ? undefined : await namedPoint(source, point);
  if (item !== undefined) {
    const ofItem = named ? [named] : await source.points({ onDamaged: () => {}, filter: { item } });
    if (!ofItem.some(isOfItem)) throw new CofferError('item-not-found', { item });
  }
  return named ? { points: [named] } : { isWanted: isOfItem };
}

function printSummary(result: CopyResult, to: string): void {
  const { pointsCopied, pointsPresent, bytesStored, sealedAsTheyAre } = result;
  const how = sealedAsTheyAre ? 'as they are' : 'sealed anew';
  printLine(`Copied ${pointsCopied.length} points ${how} to ${to}: ${formatBytes(bytesStored)}`);
  if (pointsPresent > 0) printLine(`${pointsPresent} were there already`);
}
