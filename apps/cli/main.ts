/** The coffer command. */
import { wholeArguments } from './arguments.ts';
import { buildProgram } from './program.ts';
import { runProgram } from './run.ts';
import { takeSecrets } from './secrets.ts';

takeSecrets(process.env);
process.exitCode = await runProgram(buildProgram(), wholeArguments(process.argv));
