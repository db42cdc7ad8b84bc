/** A thread that reads small files, and makes new ones. */
import { parentPort } from 'node:worker_threads';
import { required } from '@coffer/base';
import { makeNewFiles } from './new-files.ts';
import { readSmallFiles } from './small-files.ts';
import type { FileThreadRequest, FileThreadResult } from './file-threads.ts';

const port = required(parentPort, 'a file thread has a parent');

port.on('message', ({ memory, offset, length, task }: FileThreadRequest) => {
  const slab = Buffer.from(memory, offset, length);
  try {
    const outcomes =
      task.kind === 'make' ? makeNewFiles(slab, task.request) : readSmallFiles(slab, task.request);
    port.postMessage({ outcomes } satisfies FileThreadResult);
  } catch (error) {
    port.postMessage({ error } satisfies FileThreadResult);
  }
});

port.postMessage('ready');
