/**
 * A process that restores and never has the private key: its parent, which has it, opens boxes when it
 * is asked. What it gets to know at the start is all of its first message.
 */
import { required, systemProcesses } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { restore } from '@coffer/flows/restore/restore.ts';
import { type OpenBoxes, Repository, startChunkThreads } from '@coffer/repository';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { parseAnswer, parseOrder, type Question } from './messages.ts';

const waiting = new Map<number, PromiseWithResolvers<readonly Buffer[]>>();
let questions = 0;

process.on('message', (message) => {
  const answer = parseAnswer(message);
  if (!answer) return;
  waiting.get(answer.question)?.resolve(answer.keys.map((key) => Buffer.from(key, 'hex')));
});

const openBoxes: OpenBoxes = async (boxes) => {
  const question = questions++;
  const answered = Promise.withResolvers<readonly Buffer[]>();
  waiting.set(question, answered);
  tell({ type: 'open', question, boxes: boxes.map((box) => box.toString('hex')) });
  return await answered.promise;
};

function tell(question: Question): void {
  process.send?.(question);
}

process.once('message', (message) => {
  obey(message).then(
    () => tell({ type: 'done' }),
    (error: unknown) => tell({ type: 'failed', reason: String(error) }),
  );
});

async function obey(message: unknown): Promise<void> {
  const order = parseOrder(message);
  const chunkPool = startChunkThreads(2);
  const run = testRun();
  const locked = await Repository.open(run, {
    store: await openFilesystemStore(order.location, { create: false }),
    index: { cacheFolder: undefined },
    processes: systemProcesses,
    chunkPool,
  });
  const repository = locked.entrustWith({
    publicKey: Buffer.from(order.publicKey, 'hex'),
    hashKey: Buffer.from(order.hashKey, 'hex'),
    openBoxes,
    manifests: new Map([[order.point, order.manifest]]),
  });
  const [point] = await repository.points({ filter: { idPrefix: order.point } });
  const whole = { path: '', conflict: undefined, include: [], dryRun: false, verify: true };
  const target = { point: required(point, 'the point is there'), target: order.target };
  await restore(run, { ...whole, ...target, repository });
  await repository.close();
  await chunkPool.close();
}
