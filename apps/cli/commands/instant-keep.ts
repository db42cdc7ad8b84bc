/** `coffer instant keep`: the process that `restore --instant` leaves behind. It has to start quickly. */
import { keepServing } from '../instant/keeper.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';

export async function runInstantKeep(
  uuid: string,
  startedBy: number,
  options: GlobalOptions,
): Promise<void> {
  await keepServing({ uuid, repository: chooseRepository(options).location }, startedBy);
}
