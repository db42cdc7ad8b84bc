/** `coffer verify`. */
import { CofferError } from '@coffer/base';
import {
  type RecoveryPoint,
  type Repository,
  verifyRepository,
  type VerifyResult,
} from '@coffer/repository';
import { formatBytes, printDamage, printLine } from '../output.ts';
import { withBar } from '../progress.ts';
import { namedPoint, withKeysIfGiven } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface VerifyCommandOptions extends GlobalOptions {
  /** Percent; true is what commander says for a value that is left out. */
  readonly readData?: string | true;
}

/** With a key it can tell single damaged chunks; without one it tells damaged packs. */
export async function runVerify(
  names: readonly string[],
  options: VerifyCommandOptions,
): Promise<void> {
  const readFraction = parseFraction(options.readData);
  const result = await withKeysIfGiven(options, async (repository) => {
    const points = await namedPoints(repository, names);
    return await withBar(options, (run) =>
      verifyRepository({ repository: repository.during(run), points, readFraction }),
    );
  });
  printDamage(options, result, () => printLine(describe(result)));
}

async function namedPoints(
  repository: Repository,
  names: readonly string[],
): Promise<RecoveryPoint[] | undefined> {
  if (names.length === 0) return undefined;
  const points: RecoveryPoint[] = [];
  for (const name of names) points.push(await namedPoint(repository, name));
  return points;
}

/** Fails with `usage`. */
function parseFraction(percent: string | true | undefined): number {
  if (percent === undefined) return 0;
  const value = percent === true ? 100 : Number(percent.replace(/%$/, ''));
  if (value > 0 && value <= 100) return value / 100;
  throw new CofferError('usage', { readData: String(percent), expected: 'a percentage to 100' });
}

function describe({ points, chunks, packs, packsRead, bytesRead }: VerifyResult): string {
  const read = packsRead > 0 ? `, read ${packsRead} of them (${formatBytes(bytesRead)})` : '';
  return `Verified ${points} points of ${chunks} chunks in ${packs} packs${read}`;
}
