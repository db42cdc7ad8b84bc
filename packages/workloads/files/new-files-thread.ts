/** A thread that makes new files. */
import { parentPort } from 'node:worker_threads';
import { required } from '@coffer/base';
import { makeNewFiles } from './new-files.ts';
import type { FileThreadRequest, FileThreadResult } from './file-threads.ts';

const port = required(parentPort, 'a file thread has a parent');

port.on('message', ({ memory, offset, length, request }: FileThreadRequest) => {
  const slab = Buffer.from(memory, offset, length);
  try {
    const outcomes = makeNewFiles(slab, request);
    port.postMessage({ outcomes } satisfies FileThreadResult);
  } catch (error) {
    port.postMessage({ error } satisfies FileThreadResult);
  }
});

port.postMessage('ready');
