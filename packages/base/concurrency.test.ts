import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapAhead, mapBounded, Semaphore, TaskQueue } from './concurrency.ts';

/** Counts how many tasks run, and lets them end one by one. */
class Gate {
  running = 0;
  runningMax = 0;
  readonly #waiting: (() => void)[] = [];

  readonly task = async (): Promise<void> => {
    this.running++;
    this.runningMax = Math.max(this.runningMax, this.running);
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.running--;
  };

  async open(): Promise<void> {
    for (;;) {
      await turn();
      const next = this.#waiting.shift();
      if (!next) return;
      next();
    }
  }
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test('a semaphore lets no more through than its limit, in order', async () => {
  const semaphore = new Semaphore(3);
  const gate = new Gate();
  const order: number[] = [];
  const all = [0, 1, 2, 3, 4, 5, 6].map((index) =>
    semaphore.run(async () => {
      order.push(index);
      await gate.task();
    }),
  );
  await gate.open();
  await Promise.all(all);
  assert.equal(gate.runningMax, 3);
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6]);
});

test('a place is free again when its task fails', async () => {
  const semaphore = new Semaphore(1);
  await assert.rejects(
    semaphore.run(() => Promise.reject(new Error('first'))),
    /first/,
  );
  assert.equal(await semaphore.run(() => Promise.resolve('second')), 'second');
});

test('a queue slows its producer down, and tells the first failure', async () => {
  const queue = new TaskQueue(2);
  const gate = new Gate();
  let added = 0;
  const producing = (async () => {
    for (; added < 5; added++) await queue.add(gate.task);
  })();
  await turn();
  assert.equal(added, 2);
  await gate.open();
  await producing;
  await queue.drain();
  assert.equal(gate.runningMax, 2);
  await queue.add(() => Promise.reject(new Error('first')));
  await turn();
  await assert.rejects(
    queue.add(() => Promise.reject(new Error('second'))),
    /first/,
  );
  await assert.rejects(queue.drain(), /first/);
});

test('results of a bounded map stand where their values stood', async () => {
  const values = Array.from({ length: 50 }, (_, index) => index);
  const results = await mapBounded(values, 7, async (value) => {
    for (let waits = value % 5; waits > 0; waits--) await turn();
    return value * 2;
  });
  assert.deepEqual(
    results,
    values.map((value) => value * 2),
  );
  await assert.rejects(
    mapBounded([1, 2, 3], 2, (value) =>
      value === 2 ? Promise.reject(new Error('two')) : Promise.resolve(value),
    ),
    /two/,
  );
});

test('a map ahead keeps the order, and starts no more than it was told', async () => {
  let started = 0;
  const results: number[] = [];
  for await (const result of mapAhead([1, 2, 3, 4, 5, 6], 2, async (value) => {
    started++;
    for (let waits = 6 - value; waits > 0; waits--) await turn();
    return value;
  })) {
    results.push(result);
    assert.ok(started <= results.length + 2);
  }
  assert.deepEqual(results, [1, 2, 3, 4, 5, 6]);
});

test('a failure ahead is thrown when its turn comes', async () => {
  const results: number[] = [];
  await assert.rejects(async () => {
    const mapped = mapAhead([1, 2, 3], 3, (value) =>
      value === 2 ? Promise.reject(new Error('two')) : Promise.resolve(value),
    );
    for await (const result of mapped) results.push(result);
  }, /two/);
  assert.deepEqual(results, [1]);
});

test('who stops asking for what is mapped ahead waits for what was begun', async () => {
  let ended = 0;
  const gate = Promise.withResolvers<void>();
  const ahead = mapAhead([1, 2, 3, 4], 2, async (value) => {
    if (value > 1) await gate.promise;
    ended++;
    return value;
  });
  const reading = (async () => {
    for await (const value of ahead) if (value === 1) break;
  })();
  await turn();
  gate.resolve();
  await reading;
  assert.equal(ended, 3);
});

test('a queue that goes out of scope after a failure waits for its other tasks', async () => {
  const gate = Promise.withResolvers<void>();
  let hasEnded = false;
  const failing = (async () => {
    await using queue = new TaskQueue(2);
    await queue.add(async () => {
      await gate.promise;
      hasEnded = true;
    });
    throw new Error('broken off');
  })();
  await turn();
  gate.resolve();
  await assert.rejects(failing, /broken off/);
  assert.ok(hasEnded);
});
