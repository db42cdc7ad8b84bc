/** A thread that lists folders, reads small files, and makes new ones. */
import { parentPort } from 'node:worker_threads';
import { required } from '@coffer/base';
import { listFolder } from './folder-listing.ts';
import { makeNewFiles } from './new-files.ts';
import { readSmallFiles } from './small-files.ts';
import type { FileTask, FileThreadResult } from './file-threads.ts';

const port = required(parentPort, 'a file thread has a parent');

port.on('message', (task: FileTask) => {
  try {
    answer(task);
  } catch (error) {
    port.postMessage({ error } satisfies FileThreadResult);
  }
});

function answer(task: FileTask): void {
  if (task.kind === 'list') {
    const outcome = listFolder(task.folder);
    const given = outcome ? [outcome.names.buffer, outcome.stats.buffer] : [];
    port.postMessage({ outcome } satisfies FileThreadResult, given);
    return;
  }
  const { memory, offset, length } = task;
  const slab = Buffer.from(memory, offset, length);
  const outcome =
    task.kind === 'make' ? makeNewFiles(slab, task.request) : readSmallFiles(slab, task.request);
  port.postMessage({ outcome } satisfies FileThreadResult);
}

port.postMessage('ready');
