/** Opens repositories for commands, and closes them whatever happens. */
import { CofferError, type Finding, findingOf } from '@coffer/base';
import {
  findNamedPoint,
  type Nameable,
  type PointsOptions,
  type RecoveryPoint,
  type Repository,
  type UnlockedRepository,
  type WriterRepository,
} from '@coffer/repository';
import { chunkPool, openRepositoryAt } from './compose.ts';
import { formatTime, reportFindings } from './output.ts';
import { givenPassphrase, requiredPassphrase } from './passphrase.ts';
import { givenWriterKeys } from './writer-key.ts';
import { parseRates } from './quantities.ts';
import { chooseRepository, type GlobalOptions } from './settings.ts';

/** Points from the future that are told one by one. */
const AHEAD_SHOWN_MAX = 5;

/** For what works without keys. */
export async function withRepository<T>(
  options: GlobalOptions,
  use: (repository: Repository) => Promise<T>,
): Promise<T> {
  return await withRepositoryAt(chooseRepository(options).location, options, use);
}

export async function withRepositoryAt<T>(
  location: string,
  options: GlobalOptions,
  use: (repository: Repository) => Promise<T>,
): Promise<T> {
  const rates = parseRates(options.limitRate, '--limit-rate');
  const repository = await openRepositoryAt(location, { rates });
  try {
    return await use(repository);
  } finally {
    await repository.close();
    // A thread that ends with the process while it loads native code takes the process with it.
    await chunkPool.close();
  }
}

/** For what makes or reads content. Fails with `passphrase-missing` or `passphrase-wrong`. */
export async function withUnlocked<T>(
  options: GlobalOptions,
  use: (repository: UnlockedRepository) => Promise<T>,
): Promise<T> {
  return await withRepository(options, async (repository) => {
    const passphrase = await requiredPassphrase(options);
    // Stretching the passphrase takes about as long as a thread takes to load its code.
    chunkPool.start();
    return await use(await repository.unlock(passphrase));
  });
}

/** For what makes points: keys of a writer are enough. Fails as `withUnlocked` does. */
export async function withWriter<T>(
  options: GlobalOptions,
  use: (repository: WriterRepository) => Promise<T>,
): Promise<T> {
  const keys = givenWriterKeys(options);
  if (keys) return await withRepository(options, (repository) => use(repository.writeWith(keys)));
  return await withUnlocked(options, use);
}

/** For what does more with the keys: they are opened when a passphrase is given. */
export async function withKeysIfGiven<T>(
  options: GlobalOptions,
  use: (repository: Repository) => Promise<T>,
): Promise<T> {
  return await withRepository(options, async (repository) => {
    const passphrase = givenPassphrase(options);
    return await use(passphrase === undefined ? repository : await repository.unlock(passphrase));
  });
}

/**
 * The points that can be read, as the query says; damaged ones are findings. Fails with
 * `item-not-found` when an item is asked for that has no point.
 */
export async function readablePoints(
  repository: Repository,
  options: GlobalOptions,
  query: Omit<PointsOptions, 'onDamaged'> = {},
): Promise<RecoveryPoint[]> {
  const damaged: Finding[] = [];
  const points = await repository.points({
    ...query,
    onDamaged: (error) =>
      damaged.push(findingOf(error, { kind: 'repository', name: repository.location })),
  });
  damaged.push(...(await hiddenPoints(repository, query)));
  reportFindings(options, damaged);
  const item = itemOf(query);
  if (item !== undefined && points.length + damaged.length === 0) {
    throw new CofferError('item-not-found', { item });
  }
  return points;
}

/** Whoever can add objects can hide points; that looks like a repository without them. */
async function hiddenPoints(
  repository: Repository,
  query: Pick<PointsOptions, 'filter'>,
): Promise<Finding[]> {
  const count = await repository.countHiddenPoints(itemOf(query));
  const subject = { kind: 'repository', name: repository.location } as const;
  return count === 0 ? [] : [{ code: 'points-hidden', subject, details: { points: count } }];
}

function itemOf({ filter }: Pick<PointsOptions, 'filter'>): string | undefined {
  return filter && 'item' in filter ? filter.item : undefined;
}

/** The point that was named. Fails as `findNamedPoint` does. */
export async function namedPoint(
  repository: Repository,
  name: string,
  nameable: Nameable = 'shown',
): Promise<RecoveryPoint> {
  const { point, fromFuture } = await findNamedPoint(repository, name, nameable);
  tellPassedOver(fromFuture, point);
  return point;
}

/** Whoever asks for the latest point is told of one that says it is later. */
function tellPassedOver(ahead: readonly RecoveryPoint[], chosen: RecoveryPoint): void {
  for (const { id, takenAt } of ahead.slice(0, AHEAD_SHOWN_MAX)) {
    const fate = id === chosen.id ? 'is taken, since there is no other' : 'is not the latest';
    process.stderr.write(
      `coffer: the point ${id.slice(0, 12)} is from the future (${formatTime(takenAt)}: the clock of its host was wrong, or this one is), and ${fate}\n`,
    );
  }
}
