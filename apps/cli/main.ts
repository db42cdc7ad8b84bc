/** The coffer command. */
import { buildProgram } from './program.ts';
import { runProgram } from './run.ts';
import { takeSecrets } from './secrets.ts';

takeSecrets(process.env);
process.exitCode = await runProgram(buildProgram(), process.argv);
