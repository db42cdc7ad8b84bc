/** What the doctor says of a repository. */
import { failedHealth, healthOf, isCofferError } from '@coffer/base';
import { spaceLook } from '@coffer/flows/health/store-space.ts';
import { type Repository, repositoryHealth } from '@coffer/repository';
import { openRepositoryAt } from '../compose.ts';
import { givenPassphrase } from '../passphrase.ts';
import { interruptSignal } from '../run.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';
import { type Check, checkOf } from './check.ts';

export async function checkRepository(options: GlobalOptions): Promise<Check[]> {
  let repository: Repository;
  try {
    repository = await openRepositoryAt(chooseRepository(options).location);
  } catch (error) {
    return [cannotOpen(error, options)];
  }
  try {
    const message = `${repository.location} answers`;
    const health = await repositoryHealth(repository, () => givenPassphrase(options));
    const space = await healthOf(repository.run, [spaceLook(repository.location)]);
    return [{ check: 'repository', status: 'ok', message }, ...[...health, ...space].map(checkOf)];
  } finally {
    await repository.close();
  }
}

function cannotOpen(error: unknown, options: GlobalOptions): Check {
  const isMissing = isCofferError(error, 'repository-not-found');
  if (isMissing && isEmbedded(options)) {
    const message = 'there is none yet; `coffer backup` makes one';
    return { check: 'repository', status: 'ok', message };
  }
  // Who ends the doctor has no repository that is ill.
  interruptSignal.throwIfAborted();
  return checkOf(failedHealth('repository', error));
}

/** False as well for a user without a home, who has to name a repository. */
function isEmbedded(options: GlobalOptions): boolean {
  try {
    return chooseRepository(options).isEmbedded;
  } catch {
    return false;
  }
}
