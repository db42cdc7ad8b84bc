/** `coffer instant keep`: the process that `restore --instant` leaves behind. It has to start quickly. */
import { readFileSync } from 'node:fs';
import { keepServing } from '../instant/keeper.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';

/** Through which the passphrase comes, which nothing else can see there. */
const STDIN = 0;

export async function runInstantKeep(
  uuid: string,
  startedBy: number,
  options: GlobalOptions,
): Promise<void> {
  const place = { uuid, repository: chooseRepository(options).location };
  await keepServing(place, { startedBy, passphrase: readFileSync(STDIN, 'utf8') });
}
