/** Serves a file in the folder that is given until it is killed: `node serve.ts FOLDER`. */
import { mountFileSystem } from '../mount.ts';
import { memoryFileSystem, memoryNode } from './memory-file-system.ts';

const fileSystem = memoryFileSystem([memoryNode('file', { content: Buffer.from('served') })]);
await mountFileSystem(fileSystem, process.argv[2] ?? '', { name: 'served' });
process.stdout.write('mounted\n');
